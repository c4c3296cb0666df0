"""What KubeRay's operator checks of a RayJob or RayCluster after the API server took it, and what this platform adds.

The definitions' schemas let all of it pass; the operator then marks the job as failed, or a run dies weeks later.
"""

import re
from collections.abc import Iterator
from typing import Any

import yaml

from tests.kube.names import Path
from tests.kube.pods import HIDDEN, NOT_SECRET_NAME, SECRET_NAME, Finding, job_pods, security_findings, written_secret
from tests.kube.pods import resource_findings as container_resources
from tests.kube.quantities import quantity

LONGEST_NAME = 47  # KubeRay adds a suffix of its own and the pods' within 63
LONGEST_CRON_NAME = 36  # its RayJobs get eleven characters more
STARTS_WITH_LETTER = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")  # RFC 1035: names become those of Services
MODES = ("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode")
ORDER = ("DeleteWorkers", "DeleteCluster", "DeleteSelf")
QUEUE, ELASTIC = "kueue.x-k8s.io/queue-name", "kueue.x-k8s.io/elastic-job"
TOKEN_SINCE = (2, 52)
GRACE_S = 60  # Ray drains a node for 30 s, and a checkpoint of a large model takes as long
HEALTH = {"path": "/api/healthz", "port": 52365}


def name_findings(name: object, longest: int, at: Path = ("metadata", "name")) -> Iterator[Finding]:
    if not isinstance(name, str) or not STARTS_WITH_LETTER.fullmatch(name):
        yield at, name, "use lower-case letters, digits and '-', beginning with a letter"
    elif len(name) > longest:
        yield at, name, f"use at most {longest} characters, not {len(name)}"


def rayjob_findings(manifest: dict[str, Any]) -> Iterator[Finding]:
    metadata = manifest.get("metadata") or {}
    yield from name_findings(metadata.get("name"), LONGEST_NAME)
    yield from job_findings(manifest.get("spec") or {}, ("spec",), metadata)


def cron_findings(manifest: dict[str, Any]) -> Iterator[Finding]:
    """A RayCronJob: its template is a RayJob's spec."""
    metadata, spec = manifest.get("metadata") or {}, manifest.get("spec") or {}
    yield from name_findings(metadata.get("name"), LONGEST_CRON_NAME)
    schedule = str(spec.get("schedule", ""))
    if "TZ" in schedule:
        yield ("spec", "schedule"), schedule, "take the time zone out and write spec.timeZone"
    elif not schedule.startswith("@") and len(schedule.split()) != 5:
        yield ("spec", "schedule"), schedule or None, "write five fields: minute hour day month weekday"
    yield from job_findings(spec.get("jobTemplate") or {}, ("spec", "jobTemplate"), metadata)


def job_findings(job: dict[str, Any], at: Path, metadata: dict[str, Any]) -> Iterator[Finding]:
    yield from mode_findings(job, at)
    yield from bound_findings(job, at)
    yield from deletion_findings(job, at)
    yield from suspend_findings(job, at)
    yield from queue_findings(job, at, metadata)
    yield from text_findings(job, at)
    if "rayClusterSpec" in job:
        yield from cluster_findings(job["rayClusterSpec"], (*at, "rayClusterSpec"))
    yield from label_findings(job, at, metadata.get("name"))


def mode_findings(job: dict[str, Any], at: Path) -> Iterator[Finding]:
    mode = job.get("submissionMode", "K8sJobMode")
    if mode not in MODES:
        yield (*at, "submissionMode"), mode, f"choose one of {', '.join(MODES)}"
    if mode != "InteractiveMode" and not str(job.get("entrypoint") or "").strip():
        yield (*at, "entrypoint"), job.get("entrypoint"), "write the command that is run"
    if mode == "InteractiveMode" and job.get("backoffLimit", 0) > 0:
        yield (*at, "backoffLimit"), job["backoffLimit"], "write 0: InteractiveMode has no retries"
    if mode == "SidecarMode":
        for name in ("submitterPodTemplate", "submitterConfig", "clusterSelector"):
            if name in job:
                yield (*at, name), job[name], "leave it out: SidecarMode has none"
    if mode == "K8sJobMode":
        yield from submitter_findings(job, at)


def submitter_findings(job: dict[str, Any], at: Path) -> Iterator[Finding]:
    template = job.get("submitterPodTemplate")
    if not template:
        remedy = "give one: Pod Security's restricted standard refuses the operator's own"
        yield (*at, "submitterPodTemplate"), template, remedy
    elif (template.get("spec") or {}).get("restartPolicy") not in ("Never", "OnFailure"):
        where = (*at, "submitterPodTemplate", "spec", "restartPolicy")
        yield where, (template.get("spec") or {}).get("restartPolicy"), "write Never: it is a Job's pod"


def bound_findings(job: dict[str, Any], at: Path) -> Iterator[Finding]:
    least_of = {"activeDeadlineSeconds": 1, "preRunningDeadlineSeconds": 1, "backoffLimit": 0}
    for name, least in {**least_of, "ttlSecondsAfterFinished": 0}.items():
        if name in job and job[name] < least:
            yield (*at, name), job[name], f"write {least} or more"
    if "activeDeadlineSeconds" not in job:
        yield (*at, "activeDeadlineSeconds"), None, "bound it: a job that hangs keeps its nodes for ever"


def deletion_findings(job: dict[str, Any], at: Path) -> Iterator[Finding]:
    """Who ends the cluster: `shutdownAfterJobFinishes`, or deletion rules, not both and not neither."""
    strategy = job.get("deletionStrategy") or {}
    rules = strategy.get("deletionRules") or []
    shutdown = bool(job.get("shutdownAfterJobFinishes"))
    if not shutdown and job.get("ttlSecondsAfterFinished", 0) > 0:
        remedy = "leave it out, or write shutdownAfterJobFinishes: true"
        if rules:
            remedy = "leave it out: the deletion rules have times of their own"
        yield (*at, "ttlSecondsAfterFinished"), job["ttlSecondsAfterFinished"], remedy
    if rules and shutdown:
        yield (*at, "shutdownAfterJobFinishes"), True, "leave it out: deletionRules exclude it"
    if rules:
        yield from rule_findings(rules, job, (*at, "deletionStrategy", "deletionRules"))
    for name in ("onSuccess", "onFailure"):
        policy = (strategy.get(name) or {}).get("policy")
        if shutdown and policy == "DeleteNone":
            where = (*at, "deletionStrategy", name, "policy")
            yield where, policy, "delete, or leave out shutdownAfterJobFinishes"
    if "clusterSelector" not in job and not strategy and not shutdown:
        remedy = "write true, or deletionRules: a cluster nobody ends costs money"
        yield (*at, "shutdownAfterJobFinishes"), job.get("shutdownAfterJobFinishes"), remedy


def rule_findings(rules: list[dict[str, Any]], job: dict[str, Any], at: Path) -> Iterator[Finding]:
    autoscaled = (job.get("rayClusterSpec") or {}).get("enableInTreeAutoscaling")
    times: dict[str, dict[str, int]] = {}
    for number, rule in enumerate(rules):
        policy, condition = str(rule.get("policy")), rule.get("condition") or {}
        status = str(condition.get("jobStatus") or condition.get("jobDeploymentStatus"))
        if policy == "DeleteWorkers" and autoscaled:
            yield (*at, number, "policy"), policy, "write DeleteCluster: the autoscaler would bring workers back"
        if policy in ("DeleteCluster", "DeleteWorkers") and job.get("clusterSelector"):
            yield (*at, number, "policy"), policy, "write DeleteSelf: the cluster is somebody else's"
        if policy in times.setdefault(status, {}):
            yield (*at, number), rule, f"keep one rule of {policy} for {status}"
        times[status][policy] = condition.get("ttlSeconds", 0)
        for earlier in ORDER[: ORDER.index(policy)] if policy in ORDER else ():
            first = times[status].get(earlier, 0)
            if times[status][policy] < first:
                remedy = f"write {first} or more: {earlier} comes first"
                yield (*at, number, "condition", "ttlSeconds"), times[status][policy], remedy
    for status in ("SUCCEEDED", "Failed"):  # jobDeploymentStatus: also of a job past its deadline, which still runs
        if not times.get(status, {}).keys() & {"DeleteCluster", "DeleteSelf"} and not job.get("clusterSelector"):
            yield at, f"nothing for {status}", "add a rule of DeleteCluster: a cluster nobody ends costs money"


def suspend_findings(job: dict[str, Any], at: Path) -> Iterator[Finding]:
    selector = job.get("clusterSelector")
    if job.get("suspend") and not job.get("shutdownAfterJobFinishes"):
        remedy = "write true: a suspended job's cluster is deleted"
        yield (*at, "shutdownAfterJobFinishes"), job.get("shutdownAfterJobFinishes"), remedy
    if job.get("suspend") and selector:
        yield (*at, "suspend"), True, "leave it out: clusterSelector excludes it"
    if job.get("backoffLimit", 0) > 0 and selector:
        yield (*at, "backoffLimit"), job["backoffLimit"], "write 0: clusterSelector excludes retries"
    if selector and not selector.get("ray.io/cluster"):
        yield (*at, "clusterSelector"), selector, "name the cluster: {ray.io/cluster: NAME}"
    if not selector and "rayClusterSpec" not in job:
        yield (*at, "rayClusterSpec"), None, "describe a cluster, or name one in clusterSelector"


def queue_findings(job: dict[str, Any], at: Path, metadata: dict[str, Any]) -> Iterator[Finding]:
    """What Kueue refuses of a job it queues."""
    if QUEUE not in (metadata.get("labels") or {}):
        return
    cluster = job.get("rayClusterSpec") or {}
    if not job.get("suspend"):
        yield (*at, "suspend"), job.get("suspend"), "write true: the queue starts it"
    if not job.get("shutdownAfterJobFinishes") and not job.get("suspend"):
        remedy = "write true: else its quota is never free again"
        yield (*at, "shutdownAfterJobFinishes"), job.get("shutdownAfterJobFinishes"), remedy
    if cluster.get("enableInTreeAutoscaling") and (metadata.get("annotations") or {}).get(ELASTIC) != "true":
        where = (*at, "rayClusterSpec", "enableInTreeAutoscaling")
        yield where, True, f"write false, or annotate {ELASTIC}: 'true': Kueue reserves what a job has"
    groups = cluster.get("workerGroupSpecs") or []
    if len(groups) > 7:
        yield (*at, "rayClusterSpec", "workerGroupSpecs"), f"{len(groups)} groups", "use at most 7 with Kueue"


def text_findings(job: dict[str, Any], at: Path) -> Iterator[Finding]:
    """Secrets in what everybody reads who may list jobs."""
    if secret := written_secret(str(job.get("entrypoint") or "")):
        yield (*at, "entrypoint"), HIDDEN, f"take {secret.rstrip('@')} from a Secret through envFrom"
    text = job.get("runtimeEnvYAML")
    if text is None:
        return
    try:
        environment = yaml.safe_load(text)
    except yaml.YAMLError:
        environment = None
    if not isinstance(environment, dict):
        yield (*at, "runtimeEnvYAML"), text, "write YAML of the form {name: value}"
        return
    for name, value in (environment.get("env_vars") or {}).items():
        if written_secret(str(value)) or (SECRET_NAME.search(name) and not NOT_SECRET_NAME.search(name)):
            yield (*at, "runtimeEnvYAML"), HIDDEN, f"take {name} from a Secret through envFrom"


def label_findings(job: dict[str, Any], at: Path, name: object) -> Iterator[Finding]:
    """The labels by which network policies know a pod."""
    for pod in job_pods(job, at):
        labels = (pod.template.get("metadata") or {}).get("labels") or {}
        wanted = {"part-of": "platform", "component": pod.role, "instance": name}
        for key, value in wanted.items():
            if labels.get(f"app.kubernetes.io/{key}") != value:
                where = (*pod.path, "metadata", "labels", f"app.kubernetes.io/{key}")
                yield where, labels.get(f"app.kubernetes.io/{key}"), f"write {value}: network policies select by it"


def cluster_findings(cluster: dict[str, Any], at: Path) -> Iterator[Finding]:
    yield from auth_findings(cluster, at)
    yield from autoscaler_findings(cluster, at)
    yield from gcs_findings(cluster, at)
    head = cluster.get("headGroupSpec") or {}
    if (head.get("rayStartParams") or {}).get("num-cpus") != "0":
        where = (*at, "headGroupSpec", "rayStartParams", "num-cpus")
        yield (
            where,
            (head.get("rayStartParams") or {}).get("num-cpus"),
            "write '0': work on the head ends the cluster with it",
        )
    groups = [(head, (*at, "headGroupSpec"))]
    names: list[object] = []
    for number, group in enumerate(cluster.get("workerGroupSpecs") or []):
        here = (*at, "workerGroupSpecs", number)
        groups.append((group, here))
        yield from size_findings(group, here)
        yield from name_findings(group.get("groupName"), LONGEST_NAME, (*here, "groupName"))
        if group.get("groupName") in [*names, "head"]:
            yield (*here, "groupName"), group.get("groupName"), "give each group a name of its own, and none 'head'"
        names.append(group.get("groupName"))
        if group.get("suspend") and cluster.get("enableInTreeAutoscaling"):
            yield (*here, "suspend"), True, "leave it out: autoscaling excludes it"
    for group, here in groups:
        yield from group_findings(group, here, str(cluster.get("rayVersion", "")))


def auth_findings(cluster: dict[str, Any], at: Path) -> Iterator[Finding]:
    options, version = cluster.get("authOptions") or {}, str(cluster.get("rayVersion", ""))
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if options.get("mode") != "token":
        yield (*at, "authOptions", "mode"), options.get("mode"), "write token: the dashboard runs anybody's code"
    elif not numbers or (int(numbers[1]), int(numbers[2])) < TOKEN_SINCE:
        yield (*at, "rayVersion"), cluster.get("rayVersion"), "write 2.52.0 or newer: authOptions.mode token needs it"
    if options.get("enableK8sTokenAuth"):
        yield (*at, "authOptions", "enableK8sTokenAuth"), True, "leave it out: RayJobs know Ray's own token only"


def autoscaler_findings(cluster: dict[str, Any], at: Path) -> Iterator[Finding]:
    options, head = cluster.get("autoscalerOptions") or {}, cluster.get("headGroupSpec") or {}
    containers = ((head.get("template") or {}).get("spec") or {}).get("containers") or [{}]
    for number, variable in enumerate(containers[0].get("env") or []):
        if variable.get("name") == "RAY_enable_autoscaler_v2":
            where = (*at, "headGroupSpec", "template", "spec", "containers", 0, "env", number)
            yield where, variable["name"], "leave it out and write autoscalerOptions.version: v2"
    if not cluster.get("enableInTreeAutoscaling"):
        return
    here = (*at, "autoscalerOptions")
    if options.get("version") != "v2":
        yield (*here, "version"), options.get("version"), "write v2"
    yield from security_findings(options.get("securityContext") or {}, here, None)
    yield from container_resources(options.get("resources") or {}, (*here, "resources"))
    for path, pod in templates(cluster, at):
        if (policy := (pod.get("spec") or {}).get("restartPolicy")) != "Never":
            yield (*path, "spec", "restartPolicy"), policy, "write Never: autoscaler v2 replaces nodes, not containers"


def templates(cluster: dict[str, Any], at: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    yield (*at, "headGroupSpec", "template"), (cluster.get("headGroupSpec") or {}).get("template") or {}
    for number, group in enumerate(cluster.get("workerGroupSpecs") or []):
        yield (*at, "workerGroupSpecs", number, "template"), group.get("template") or {}


def gcs_findings(cluster: dict[str, Any], at: Path) -> Iterator[Finding]:
    """What outlives the head: Redis's address and password have fields of their own."""
    options, head = cluster.get("gcsFaultToleranceOptions"), cluster.get("headGroupSpec") or {}
    here = (*at, "gcsFaultToleranceOptions")
    for name in ("redisPassword", "redisUsername"):
        if ((options or {}).get(name) or {}).get("value"):
            yield (*here, name, "value"), HIDDEN, "take it from a Secret: valueFrom.secretKeyRef"
    for name in ("redis-password", "redis-username"):
        if name in (head.get("rayStartParams") or {}):
            yield (*at, "headGroupSpec", "rayStartParams", name), HIDDEN, "use gcsFaultToleranceOptions"
    containers = ((head.get("template") or {}).get("spec") or {}).get("containers") or [{}]
    for number, variable in enumerate(containers[0].get("env") or []):
        if variable.get("name") in ("RAY_REDIS_ADDRESS", "REDIS_PASSWORD", "REDIS_USERNAME"):
            where = (*at, "headGroupSpec", "template", "spec", "containers", 0, "env", number)
            yield where, variable["name"], "use gcsFaultToleranceOptions"


def size_findings(group: dict[str, Any], at: Path) -> Iterator[Finding]:
    least, most = group.get("minReplicas", 0), group.get("maxReplicas", 2**31 - 1)
    wanted = group.get("replicas", least)
    if least > most:
        yield (*at, "minReplicas"), least, f"write at most maxReplicas, {most}"
    elif not least <= wanted <= most:
        yield (*at, "replicas"), wanted, f"write {least} to {most}: minReplicas to maxReplicas"


def group_findings(group: dict[str, Any], at: Path, version: str) -> Iterator[Finding]:
    """The head or a group of workers."""
    params, pod = group.get("rayStartParams") or {}, (group.get("template") or {}).get("spec") or {}
    if group.get("resources") and params.keys() & {"num-cpus", "num-gpus", "memory", "resources"}:
        yield (*at, "resources"), group["resources"], "write resources here or in rayStartParams, not both"
    if "labels" in params:
        yield (*at, "rayStartParams", "labels"), params["labels"], "write them as the group's labels"
    spec = (*at, "template", "spec")
    grace = pod.get("terminationGracePeriodSeconds")
    if not isinstance(grace, int) or grace <= GRACE_S:
        remedy = f"write more than {GRACE_S}: time to drain the node and write a checkpoint"
        yield (*spec, "terminationGracePeriodSeconds"), grace, remedy
    container = (pod.get("containers") or [{}])[0]
    here = (*spec, "containers", 0)
    for name in ("readinessProbe", "livenessProbe"):
        asked = (container.get(name) or {}).get("httpGet") or {}
        if name in container and {key: asked.get(key) for key in HEALTH} != HEALTH:
            yield (*here, name, "httpGet"), asked or None, "ask the agent of the node: /api/healthz on port 52365"
    image = str(container.get("image", ""))
    if version and (tagged := re.search(r"ray(\d+\.\d+\.\d+)", image)) and tagged[1] != version:
        yield (*here, "image"), image, f"use an image of Ray {version}, as rayVersion says"
    yield from shared_memory_findings(container, pod, spec)


def shared_memory_findings(container: dict[str, Any], pod: dict[str, Any], at: Path) -> Iterator[Finding]:
    """/dev/shm holds Ray's objects: in memory, and within the container's."""
    mounted = {mount.get("mountPath"): mount.get("name") for mount in container.get("volumeMounts") or []}
    if "/dev/shm" not in mounted:
        where = (*at, "containers", 0, "volumeMounts")
        yield where, "without /dev/shm", "mount an emptyDir of medium Memory: the runtime's own has 64 MiB"
        return
    limit = ((container.get("resources") or {}).get("limits") or {}).get("memory")
    for number, volume in enumerate(pod.get("volumes") or []):
        if volume.get("name") != mounted["/dev/shm"]:
            continue
        empty = volume.get("emptyDir") or {}
        where = (*at, "volumes", number, "emptyDir")
        if empty.get("medium") != "Memory":
            yield (*where, "medium"), empty.get("medium"), "write Memory"
        if limit and "sizeLimit" in empty and quantity(empty["sizeLimit"]) >= quantity(limit):
            remedy = f"write less than the container's memory, {limit}: it counts there"
            yield (*where, "sizeLimit"), empty["sizeLimit"], remedy
