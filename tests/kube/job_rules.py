"""What KubeRay's operator checks of a RayJob after the API server took it, and what this platform adds.

The definitions' schemas let all of it pass; the operator then marks the job as failed, or a run dies weeks later.
"""

from collections.abc import Iterator
from typing import Any

import yaml

from tests.kube.cluster_rules import LONGEST_NAME, cluster_findings, name_findings
from tests.kube.names import Path, label_key_error
from tests.kube.pods import HIDDEN, NOT_SECRET_NAME, SECRET_NAME, Finding, Said, job_pods, written_secret

LONGEST_CRON_NAME = 36  # its RayJobs get eleven characters more
MODES = ("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode")
LEAST = {"activeDeadlineSeconds": 1, "preRunningDeadlineSeconds": 1, "backoffLimit": 0, "ttlSecondsAfterFinished": 0}
ORDER = ("DeleteWorkers", "DeleteCluster", "DeleteSelf")
TOPOLOGY = tuple(f"kueue.x-k8s.io/podset-{how}-topology" for how in ("required", "preferred"))
QUEUE, ELASTIC = "kueue.x-k8s.io/queue-name", "kueue.x-k8s.io/elastic-job"


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
    for name, least in LEAST.items():
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
            yield at, Said(f"without {status}"), "add a rule of DeleteCluster: a cluster nobody ends costs money"


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
    queued = QUEUE in (metadata.get("labels") or {})
    yield from topology_findings(job, at, queued=queued)
    if not queued:
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
        yield (*at, "rayClusterSpec", "workerGroupSpecs"), Said(f"{len(groups)} groups"), "use at most 7 with Kueue"


def topology_findings(job: dict[str, Any], at: Path, *, queued: bool) -> Iterator[Finding]:
    """Annotations of pods by which Kueue chooses nodes: one of them, with a node's label, of a job that it queues."""
    scaled = (job.get("rayClusterSpec") or {}).get("enableInTreeAutoscaling")
    for pod in job_pods(job, at):
        annotations = (pod.template.get("metadata") or {}).get("annotations") or {}
        found = {name: annotations[name] for name in TOPOLOGY if name in annotations}
        for name, value in found.items():
            where = (*pod.path, "metadata", "annotations", name)
            if not queued:
                yield where, value, f"leave it out, or label the job {QUEUE}: Kueue alone reads it"
            elif len(found) > 1:
                yield where, value, f"keep one of {', '.join(found)}"
            elif error := label_key_error(value):
                yield where, value, error
            elif scaled:
                yield where, value, "leave it out: Kueue chooses nodes for jobs of one size"


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
