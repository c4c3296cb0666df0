"""KubeRay: its kinds, its operator, the feature gates and flags of it that the job needs.

In: the job, the operator's deployment. Out: findings. Names and defaults are those of KubeRay 1.7.0
(ray-operator/pkg/features, helm-chart/kuberay-operator, ray-operator/main.go).
"""

import re
from typing import Any

from platform.kubernetes.check.controller import Controller, Unread, settings_of
from platform.kubernetes.check.finding import Findings, missing, ok, unknown, warning
from platform.kubernetes.check.job import Job
from platform.kubernetes.check.live import DEPLOYMENTS, RAY_JOBS, Hidden, Live
from platform.kubernetes.refusals import OPERATOR

HOME = "kuberay-system"  # its namespace, here and in the network policies of k8s/base
_CALLED = "app.kubernetes.io/name in (kuberay-operator,kuberay)"  # by Helm, by kustomize
_TESTED = (1, 7)
_PATIENCE, _DEFAULT_S = "RAYJOB_STATUS_CHECK_TIMEOUT_SECONDS", 300
_GATES = {"RayJobDeletionPolicy": True, "RayCronJob": False}  # those that our jobs need, and their defaults


def operator_of(live: Live) -> Controller | None:
    """The operator, where it can be seen."""
    found = live.find_anywhere(DEPLOYMENTS, HOME, selector=_CALLED)
    return Controller(found[0]) if found else None


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
    if not found.is_ready:
        remedy = f"kubectl get pods -n {found.namespace} tells why; jobs wait until it is"
        yield missing("operator", f"KubeRay {version} in {found.namespace} is not ready", remedy)
    elif (found.release or _TESTED) < _TESTED:
        yield warning("operator", f"KubeRay {version}, and jobs are written for 1.7", "upgrade it, its kinds first")
    else:
        unnamed = "of a version that its image does not name"
        yield ok("operator", f"KubeRay {version or unnamed} in {found.namespace}")
    yield from _watched(live, job, found)
    yield from _patience(found)


def feature_gates(live: Live, job: Job) -> Findings:
    """The gates that this job needs, from the operator's command line."""
    found = operator_of(live)
    if found is None:
        yield unknown("feature gates", "the operator is not seen")
        return
    needed = ["RayJobDeletionPolicy"] if "deletionStrategy" in job.spec else []
    needed += ["RayCronJob"] if job.is_scheduled else []
    off = [gate for gate in needed if not found.gates.get(gate, _GATES[gate])]
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
    except (Hidden, Unread) as hidden:
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


def _patience(found: Controller) -> Findings:
    """How long it asks a head that does not answer, against the minutes that another one takes on a lost node."""
    given = found.variable(_PATIENCE) or {}
    if (found.release or _TESTED) < _TESTED or "valueFrom" in given:
        return  # older ones have no limit; what comes from elsewhere is not seen
    seconds = _seconds(given.get("value"))
    if seconds is not None and seconds > _DEFAULT_S:
        return
    is_strange = seconds is None and given.get("value")
    why = f", as {_PATIENCE}={given['value']} is no number of seconds," if is_strange else ""
    said = (
        f"a job whose head does not answer it for {seconds or _DEFAULT_S} s{why} has failed and is not retried "
        "(JobStatusCheckTimeoutExceeded); after the loss of its node the next head takes longer"
    )
    remedy = f"kubectl set env {found.where} {_PATIENCE}=1800"
    yield warning("operator", said, f"{remedy} (Helm: --set-string 'env[0].name={_PATIENCE},env[0].value=1800')")


def _seconds(text: object) -> int | None:
    """A number of seconds as the operator reads it; None: it would take its default."""
    found = re.fullmatch(r"\+?(\d+)", str(text or ""))
    return int(found[1]) or None if found else None


def _watched(live: Live, job: Job, found: Controller) -> Findings:
    try:
        settings = _settings(live, found)
    except (Hidden, Unread) as hidden:
        yield unknown("operator", f"which namespaces it watches: {hidden}")
        return
    watched = str(settings.get("watchNamespace") or "")
    if watched and job.namespace not in watched.split(","):
        remedy = f"add it to --watch-namespace of {found.where} (Helm: watchNamespace)"
        yield missing("operator", f"it watches {watched}, not {job.namespace}", remedy)


def _settings(live: Live, found: Controller) -> dict[str, Any]:
    """Its settings, from flags or, with `--config`, from the ConfigMap of its chart; may raise Hidden, Unread."""
    if (path := found.flag("config")) is not None:
        return settings_of(live, found, path)
    return {
        "watchNamespace": found.flag("watch-namespace"),
        "batchScheduler": found.flag("batch-scheduler"),
        "enableBatchScheduler": found.flag("enable-batch-scheduler") in ("", "true"),
    }
