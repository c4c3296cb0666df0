"""KubeRay: its kinds, its operator, the feature gates and flags of it that the job needs.

In: the job, the operator's deployment. Out: findings. Names and defaults are those of KubeRay 1.7.0
(ray-operator/pkg/features, helm-chart/kuberay-operator, ray-operator/main.go).
"""

import posixpath
import re
from dataclasses import dataclass
from typing import Any

import yaml

from platform.kubernetes.check.finding import Findings, missing, ok, unknown, warning
from platform.kubernetes.check.job import Job
from platform.kubernetes.check.live import CONFIG_MAPS, DEPLOYMENTS, RAY_JOBS, Hidden, Live
from platform.kubernetes.client import Object
from platform.kubernetes.refusals import OPERATOR
from platform.text import first_line

HOME = "kuberay-system"  # its namespace, here and in the network policies of k8s/base
_CALLED = "app.kubernetes.io/name in (kuberay-operator,kuberay)"  # by Helm, by kustomize
_TESTED = (1, 7)
_GATES = {"RayJobDeletionPolicy": True, "RayCronJob": False}  # those that our jobs need, and their defaults


@dataclass(frozen=True)
class KubeRayOperator:
    """A deployment of the operator."""

    deployment: Object

    @property
    def namespace(self) -> str:
        """Where it lives."""
        return self.deployment["metadata"]["namespace"]

    @property
    def where(self) -> str:
        """Namespace and name, as kubectl takes them."""
        return f"-n {self.namespace} deployment/{self.deployment['metadata']['name']}"

    @property
    def template(self) -> Object:
        """Of its pods."""
        return self.deployment["spec"]["template"]

    @property
    def version(self) -> str | None:
        """The tag of its image; None: it is named by its digest."""
        tag = self._container["image"].partition("@")[0].rpartition("/")[2].partition(":")[2]
        return tag or None

    @property
    def is_ready(self) -> bool:
        """Whether a pod of it is."""
        return bool((self.deployment.get("status") or {}).get("readyReplicas"))

    def flag(self, name: str) -> str | None:
        """The value of a flag, given as `--NAME=VALUE` or `--NAME VALUE`; "": without one; None: it is not given."""
        words = [*(self._container.get("command") or []), *(self._container.get("args") or [])]
        for number, word in enumerate(words):
            key, equals, value = str(word).lstrip("-").partition("=")
            if key == name and str(word).startswith("-"):
                after = str(words[number + 1]) if number + 1 < len(words) else ""
                return value if equals else ("" if after.startswith("-") else after)
        return None

    def is_on(self, gate: str) -> bool:
        """Whether a feature gate is."""
        said = [each.partition("=") for each in (self.flag("feature-gates") or "").split(",")]
        given = {name.strip(): value.lower() in ("true", "1", "t") for name, _, value in said}
        return given.get(gate, _GATES[gate])

    @property
    def _container(self) -> Object:
        return self.template["spec"]["containers"][0]


class _Unread(Exception):
    """Why the operator's file of settings tells nothing."""


def operator_of(live: Live) -> KubeRayOperator | None:
    """The operator, where it can be seen."""
    found = live.find_anywhere(DEPLOYMENTS, HOME, selector=_CALLED)
    return KubeRayOperator(found[0]) if found else None


def kinds(live: Live, job: Job) -> Findings:
    """The custom resources, by discovery, which everybody may ask."""
    there = live.kinds(RAY_JOBS)
    needed = ["rayjobs", "rayclusters", *(["raycronjobs"] if job.is_scheduled else [])]
    lacking = [each for each in needed if each not in there]
    if lacking:
        yield missing(
            "KubeRay's kinds", f"the API server does not know {', '.join(lacking)}", f"install it: {OPERATOR}"
        )
    else:
        yield ok("KubeRay's kinds", f"{', '.join(needed)} of {RAY_JOBS.group}/{RAY_JOBS.version}")


def operator(live: Live, job: Job) -> Findings:
    """The operator: there, ready, of a version that knows these manifests, watching this namespace."""
    found = operator_of(live)
    if found is None:
        said = f"no deployment of it in any namespace, or not seen outside {HOME}"
        yield warning("operator", said, f"install it: {OPERATOR}")
        return
    version = found.version
    numbers = re.match(r"v?(\d+)\.(\d+)", version or "")
    if not found.is_ready:
        remedy = f"kubectl get pods -n {found.namespace} tells why; jobs wait until it is"
        yield missing("operator", f"KubeRay {version} in {found.namespace} is not ready", remedy)
    elif numbers and tuple(map(int, numbers.groups())) < _TESTED:
        yield warning("operator", f"KubeRay {version}, and jobs are written for 1.7", "upgrade it, its kinds first")
    else:
        unnamed = "of a version that its image does not name"
        yield ok("operator", f"KubeRay {version or unnamed} in {found.namespace}")
    yield from _watched(live, job, found)


def feature_gates(live: Live, job: Job) -> Findings:
    """The gates that this job needs, from the operator's command line."""
    found = operator_of(live)
    if found is None:
        yield unknown("feature gates", "the operator is not seen")
        return
    needed = ["RayJobDeletionPolicy"] if "deletionStrategy" in job.spec else []
    needed += ["RayCronJob"] if job.is_scheduled else []
    off = [gate for gate in needed if not found.is_on(gate)]
    for gate in off:
        what = "nothing would run at the times of the schedule" if gate == "RayCronJob" else "the RayJob is refused"
        remedy = f"add {gate}=true to --feature-gates of {found.where} (Helm: featureGates)"
        yield missing("feature gates", f"{gate} is off: {what}", remedy)
    if not off:
        yield ok("feature gates", f"{', '.join(needed)} on" if needed else "none is needed")


def gang_scheduler(live: Live, job: Job) -> Findings:
    """The batch scheduler of `cluster.kube.gang`, which the operator must have been started with."""
    wanted = job.kube.gang
    if wanted == "none":
        return
    found = operator_of(live)
    if found is None:
        yield unknown("gang scheduler", "the operator is not seen")
        return
    try:
        settings = _settings(live, found)
    except (Hidden, _Unread) as hidden:
        yield unknown("gang scheduler", str(hidden))
        return
    given = settings.get("batchScheduler") or ("volcano" if settings.get("enableBatchScheduler") else None)
    if given == wanted:
        yield ok("gang scheduler", f"the operator uses {wanted}")
    else:
        remedy = (
            f"add --batch-scheduler={wanted} to {found.where} (Helm: batchScheduler.name), or choose cluster.kube.gang"
        )
        yield missing("gang scheduler", f"the operator uses {given or 'none'}, cluster.kube.gang is {wanted}", remedy)


def _watched(live: Live, job: Job, found: KubeRayOperator) -> Findings:
    try:
        settings = _settings(live, found)
    except (Hidden, _Unread) as hidden:
        yield unknown("operator", f"which namespaces it watches: {hidden}")
        return
    watched = str(settings.get("watchNamespace") or "")
    if watched and job.namespace not in watched.split(","):
        remedy = f"add it to --watch-namespace of {found.where} (Helm: watchNamespace)"
        yield missing("operator", f"it watches {watched}, not {job.namespace}", remedy)


def _settings(live: Live, found: KubeRayOperator) -> dict[str, Any]:
    """Its settings, from flags or, with `--config`, from the ConfigMap of its chart.

    Raises:
        Hidden: the rights do not show them.
        _Unread: its file is not found or not understood.
    """
    if (path := found.flag("config")) is None:
        scheduler = found.flag("batch-scheduler")
        enabled = found.flag("enable-batch-scheduler") in ("", "true")
        return {
            "watchNamespace": found.flag("watch-namespace"),
            "batchScheduler": scheduler,
            "enableBatchScheduler": enabled,
        }
    name, texts = posixpath.basename(path), _config_maps(live, found)
    if name not in texts:
        raise _Unread(f"its --config {path} is in no ConfigMap that {found.where} mounts")
    try:
        read = yaml.safe_load(texts[name])
    except yaml.YAMLError as error:
        raise _Unread(f"its --config {path} is no YAML ({first_line(error)})") from None
    if not isinstance(read, dict):
        raise _Unread(f"its --config {path} holds no settings")
    return read


def _config_maps(live: Live, found: KubeRayOperator) -> dict[str, str]:
    """What the ConfigMaps that its pods mount hold, by key."""
    volumes = found.template["spec"].get("volumes") or []
    named = [volume["configMap"]["name"] for volume in volumes if "configMap" in volume]
    held = [live.get(CONFIG_MAPS, name, found.namespace) for name in named]
    return {key: text for each in held for key, text in ((each or {}).get("data") or {}).items()}
