"""Where a manifest has pods, and the security checklist every one of them must pass.

The list is Pod Security's restricted standard and what it leaves out: no service-account token, a read-only root file
system, resources, exact images, probes, no secret written down.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.kube.names import Path, field, label_errors
from tests.kube.quantities import quantity

Finding = tuple[Path, object, str]  # where, what stands there, what to do

RESTRICTED_VOLUMES = (
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected", "secret",
)  # fmt: skip
SECRET_NAME = re.compile(r"(password|passwd|secret|token|credential|access_?key|api_?key|private_?key)", re.I)
NOT_SECRET_NAME = re.compile(r"(_FILE|_PATH|_DIR|_NAME|_MODE)$", re.I)
SECRET_WORD = re.compile(
    r"([\w.-]*(?:password|passwd|secret|token|access_?key|api_?key|private_?key)[\w-]*)\s*[=:]\s*['\"]?[^\s$'\"{]", re.I
)
USERINFO = re.compile(r"://[^/\s:@$]*:[^/\s@$]+@")


@dataclass(frozen=True)
class PodAt:
    """A pod's template within a manifest: kept is whether its containers run until they are stopped."""

    path: Path
    template: dict[str, Any]
    kept: bool
    role: str = ""  # of Ray's: head, worker, submitter
    claims: tuple[str, ...] = ()  # volumes that a StatefulSet's claim templates make

    @property
    def spec(self) -> dict[str, Any]:
        return self.template.get("spec") or {}

    @property
    def at(self) -> Path:
        return (*self.path, "spec")


def pods(manifest: dict[str, Any]) -> Iterator[PodAt]:
    """Every pod that comes of a manifest."""
    spec: dict[str, Any] = manifest.get("spec") or {}
    match manifest.get("kind"):
        case "Pod":
            yield PodAt((), manifest, kept=True)
        case "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet":
            claims = tuple(claim["metadata"]["name"] for claim in spec.get("volumeClaimTemplates") or [])
            yield PodAt(("spec", "template"), spec.get("template") or {}, kept=True, claims=claims)
        case "Job":
            yield PodAt(("spec", "template"), spec.get("template") or {}, kept=False)
        case "CronJob":
            job = (spec.get("jobTemplate") or {}).get("spec") or {}
            yield PodAt(("spec", "jobTemplate", "spec", "template"), job.get("template") or {}, kept=False)
        case "RayCluster":
            yield from cluster_pods(spec, ("spec",))
        case "RayJob":
            yield from job_pods(spec, ("spec",))
        case "RayCronJob":
            yield from job_pods(spec.get("jobTemplate") or {}, ("spec", "jobTemplate"))


def job_pods(job: dict[str, Any], path: Path) -> Iterator[PodAt]:
    if "rayClusterSpec" in job:
        yield from cluster_pods(job["rayClusterSpec"], (*path, "rayClusterSpec"))
    if "submitterPodTemplate" in job:
        yield PodAt((*path, "submitterPodTemplate"), job["submitterPodTemplate"], kept=False, role="submitter")


def cluster_pods(cluster: dict[str, Any], path: Path) -> Iterator[PodAt]:
    head = cluster.get("headGroupSpec") or {}
    yield PodAt((*path, "headGroupSpec", "template"), head.get("template") or {}, kept=True, role="head")
    for number, group in enumerate(cluster.get("workerGroupSpecs") or []):
        at = (*path, "workerGroupSpecs", number, "template")
        yield PodAt(at, group.get("template") or {}, kept=True, role="worker")


def pod_findings(pod: PodAt) -> Iterator[Finding]:
    """What the checklist has against a pod."""
    spec, at = pod.spec, pod.at
    yield from label_errors(pod.template.get("metadata") or {}, (*pod.path, "metadata"))
    if spec.get("automountServiceAccountToken") is not False:
        yield (
            (*at, "automountServiceAccountToken"),
            spec.get("automountServiceAccountToken"),
            "write false: no container needs the API server unless it mounts a token itself",
        )
    if spec.get("serviceAccountName") in (None, "default"):
        yield (*at, "serviceAccountName"), spec.get("serviceAccountName"), "name an account of its own"
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(name):
            yield (*at, name), spec[name], "leave it out: the restricted standard refuses the node's namespaces"
    yield from volume_findings(pod)
    for kind in ("initContainers", "containers"):
        for number, container in enumerate(spec.get(kind) or []):
            yield from container_findings(container, (*at, kind, number), spec)
            if pod.kept and kind == "containers":
                yield from probe_findings(container, (*at, kind, number))
    if not spec.get("containers"):
        yield (*at, "containers"), spec.get("containers"), "a pod needs at least one container"


class Said(str):
    """A value already as text."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def volume_findings(pod: PodAt) -> Iterator[Finding]:
    spec, at = pod.spec, pod.at
    volumes = {volume.get("name"): volume for volume in spec.get("volumes") or []}
    tokens = {
        name
        for name, volume in volumes.items()
        if any("serviceAccountToken" in source for source in (volume.get("projected") or {}).get("sources") or [])
    }
    for number, volume in enumerate(spec.get("volumes") or []):
        for kind in volume.keys() - {"name", *RESTRICTED_VOLUMES}:
            yield (*at, "volumes", number, kind), volume[kind], "use a claim: the restricted standard refuses this kind"
        empty = volume.get("emptyDir") or {}
        if empty.get("medium") == "Memory" and "sizeLimit" not in empty:
            yield (
                (*at, "volumes", number, "emptyDir", "sizeLimit"),
                None,
                "bound it: memory of the pod, half of the node's without a bound",
            )
    for kind in ("initContainers", "containers"):
        for number, container in enumerate(spec.get(kind) or []):
            for place, mount in enumerate(container.get("volumeMounts") or []):
                where = (*at, kind, number, "volumeMounts", place, "name")
                if mount.get("name") not in volumes and mount.get("name") not in pod.claims:
                    yield where, mount.get("name"), f"name one of the pod's volumes: {', '.join(map(str, volumes))}"
                if mount.get("name") in tokens:
                    yield where, mount["name"], "only the autoscaler's container may have a token"


def container_findings(container: dict[str, Any], at: Path, pod: dict[str, Any]) -> Iterator[Finding]:
    yield from security_findings(container.get("securityContext") or {}, at, pod.get("securityContext") or {})
    yield from resource_findings(container.get("resources") or {}, (*at, "resources"))
    yield from image_findings(container.get("image"), (*at, "image"))
    yield from secret_findings(container, at)
    if not any(mount.get("mountPath") == "/tmp" for mount in container.get("volumeMounts") or []):
        yield (*at, "volumeMounts"), Said("without /tmp"), "mount an emptyDir there: the root file system is read-only"
    for number, port in enumerate(container.get("ports") or []):
        if "hostPort" in port:
            yield (*at, "ports", number, "hostPort"), port["hostPort"], "leave it out and use a Service"


def security_findings(own: dict[str, Any], at: Path, pod: dict[str, Any] | None) -> Iterator[Finding]:
    """A container's security context, with the pod's behind it; None where there is no pod's to fall back on."""
    at = (*at, "securityContext")
    both = (pod or {}) | own
    for name, wanted in (("allowPrivilegeEscalation", False), ("readOnlyRootFilesystem", True)):
        if own.get(name) is not wanted:
            yield (*at, name), own.get(name), f"write {str(wanted).lower()}"
    if own.get("privileged"):
        yield (*at, "privileged"), True, "leave it out"
    capabilities = own.get("capabilities") or {}
    if "ALL" not in (capabilities.get("drop") or []):
        yield (*at, "capabilities", "drop"), capabilities.get("drop"), "write [ALL]"
    if capabilities.get("add"):
        yield (*at, "capabilities", "add"), capabilities["add"], "leave it out"
    if pod is None:
        return
    if both.get("runAsNonRoot") is not True:
        yield (*at, "runAsNonRoot"), both.get("runAsNonRoot"), "write true here or for the pod"
    if both.get("runAsUser") == 0:
        yield (*at, "runAsUser"), 0, "choose another user than root, 1000 for the platform's image"
    profile = (both.get("seccompProfile") or {}).get("type")
    if profile not in ("RuntimeDefault", "Localhost"):
        yield (*at, "seccompProfile", "type"), profile, "write RuntimeDefault here or for the pod"


def resource_findings(resources: dict[str, Any], at: Path) -> Iterator[Finding]:
    """Requests and limits: Ray counts by the limits, the quota by both."""
    requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
    for name in ("cpu", "memory"):
        for kind, amounts in (("requests", requests), ("limits", limits)):
            if name not in amounts:
                yield (*at, kind, name), None, "say how much: the namespace's quota needs it"
    for name in requests.keys() & limits.keys():
        try:
            asked, most = quantity(requests[name]), quantity(limits[name])
        except ValueError as error:
            yield (*at, "limits", name), limits[name], str(error)
            continue
        if asked > most:
            yield (*at, "requests", name), requests[name], f"ask for at most the limit, {limits[name]}"
        elif "/" in name and asked != most:
            yield (*at, "requests", name), requests[name], f"devices are not shared: write the limit, {limits[name]}"
    for name in requests.keys() - limits.keys():
        if "/" in name:
            yield (*at, "limits", name), None, f"devices need a limit: write {requests[name]}"


def image_findings(image: object, at: Path) -> Iterator[Finding]:
    name, _, digest = str(image or "").partition("@")
    tag = name.rpartition("/")[2].partition(":")[2]
    if not digest and tag in ("", "latest"):
        yield at, image, "pin a version: two nodes must run the same"


def probe_findings(container: dict[str, Any], at: Path) -> Iterator[Finding]:
    for name in ("readinessProbe", "livenessProbe"):
        if name not in container:
            yield (*at, name), None, "say how its health is seen"


def secret_findings(container: dict[str, Any], at: Path) -> Iterator[Finding]:
    """Secrets written into environment variables and command lines; what `valueFrom` and `$(NAME)` bring is fine."""
    for number, variable in enumerate(container.get("env") or []):
        name, value = str(variable.get("name")), variable.get("value")
        named = SECRET_NAME.search(name) and not NOT_SECRET_NAME.search(name)
        if value and (USERINFO.search(str(value)) or (named and not str(value).startswith("$("))):
            yield (*at, "env", number, "value"), HIDDEN, f"take {name} from a Secret: valueFrom.secretKeyRef"
    for kind in ("command", "args"):
        for number, word in enumerate(container.get(kind) or []):
            if written_secret(str(word)):
                yield (*at, kind, number), HIDDEN, "take it from a Secret through the environment: $(NAME)"


HIDDEN = Said("a secret written down")


def written_secret(text: str) -> str | None:
    """What of a command line or text looks like a secret: `password=...`, `://user:password@`."""
    if match := USERINFO.search(text):
        return match[0]
    match = SECRET_WORD.search(text)
    return match[1] if match and not NOT_SECRET_NAME.search(match[1]) else None


def line(file: str, finding: Finding) -> str:
    """`file: field is VALUE; remedy`, one line however long the value is."""
    path, value, remedy = finding
    said = "missing" if value is None else repr(value)
    shown = said if len(said) <= 60 else said[:57] + "..."
    return f"{file}: {field(path)} is {shown}; {remedy}"
