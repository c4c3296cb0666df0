"""What KubeRay's operator checks of a Ray cluster after the API server took it, and what this platform adds.

The definition's schema lets all of it pass; the operator then does nothing, or a run dies weeks later.
"""

import re
from collections.abc import Iterator
from typing import Any

from tests.kube.names import Path
from tests.kube.pods import HIDDEN, Finding, Said, resource_findings, security_findings
from tests.kube.quantities import quantity

LONGEST_NAME = 47  # KubeRay adds a suffix of its own and the pods' within 63
STARTS_WITH_LETTER = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")  # RFC 1035: names become those of Services
TOKEN_SINCE = (2, 52)
GRACE_S = 60  # Ray drains a node for 30 s, and a checkpoint of a large model takes as long
HEALTH = {"path": "/api/healthz", "port": 52365}


def name_findings(name: object, longest: int, at: Path = ("metadata", "name")) -> Iterator[Finding]:
    if not isinstance(name, str) or not STARTS_WITH_LETTER.fullmatch(name):
        yield at, name, "use lower-case letters, digits and '-', beginning with a letter"
    elif len(name) > longest:
        yield at, name, f"use at most {longest} characters, not {len(name)}"


def cluster_findings(cluster: dict[str, Any], at: Path) -> Iterator[Finding]:
    yield from auth_findings(cluster, at)
    yield from autoscaler_findings(cluster, at)
    yield from gcs_findings(cluster, at)
    head = cluster.get("headGroupSpec") or {}
    params = head.get("rayStartParams") or {}
    if params.get("num-cpus") != "0":
        where = (*at, "headGroupSpec", "rayStartParams", "num-cpus")
        yield where, params.get("num-cpus"), "write '0': what works on the head takes the cluster with it when it dies"
    groups: list[tuple[dict[str, Any], Path]] = [(head, (*at, "headGroupSpec"))]
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
    yield from resource_findings(options.get("resources") or {}, (*here, "resources"))
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
        yield where, Said("without /dev/shm"), "mount an emptyDir of medium Memory: the runtime's own has 64 MiB"
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
