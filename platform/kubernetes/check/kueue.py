"""Kueue's controller: whether it takes a job with a range of pods, and whether it may choose nodes for it.

In: the job, the controller's deployment, the queue. Out: findings. Gates and their defaults are those of Kueue 0.16 to
0.19 (pkg/features/kube_features.go), which are given as a flag (its chart) or in its file of settings, never in both.
"""

from platform.kubernetes.check.controller import Controller, Unread, settings_of
from platform.kubernetes.check.finding import Findings, missing, ok, unknown, warning
from platform.kubernetes.check.flavors import resource_flavors
from platform.kubernetes.check.job import Job
from platform.kubernetes.check.live import DEPLOYMENTS, Hidden, Live
from platform.kubernetes.client import Object

HOME = "kueue-system"
_CALLED = "app.kubernetes.io/name=kueue,control-plane=controller-manager"
_ABOUT = "range of pods"
_ELASTIC = "kueue.x-k8s.io/elastic-job"
_GATE, _ON_SINCE = "ElasticJobsViaWorkloadSlices", (0, 18)
_OF_TOPOLOGY = "ElasticJobsViaWorkloadSlicesWithTAS"  # alpha and off
_ONE_NUMBER = "give cluster.kube.pods as one number"


def range_of_pods(live: Live, job: Job, cluster_queue: Object | None) -> Findings:
    """Whether the gate is on that a range of pods needs, and whether the queue leaves the choice of nodes alone.

    Args:
        live: the cluster.
        job: whose manifest says whether it has a range.
        cluster_queue: that it would wait in; None: it is not there, or not seen.
    """
    if _ELASTIC not in (job.manifest["metadata"].get("annotations") or {}):
        return
    try:
        found = controller_of(live)
        gates = {} if found is None else _gates(live, found)
    except (Hidden, Unread) as why:
        tells = "Kueue refuses the job there, if it does not"
        yield unknown(_ABOUT, f"whether Kueue takes it: {why}", f"the line `dry run` tells: {tells}")
        return
    if found is None:
        yield unknown(_ABOUT, f"no deployment of Kueue is seen in any namespace, or outside {HOME}")
        return
    yield from _gate(found, gates)
    if cluster_queue is not None:
        yield from _topology(live, cluster_queue, is_on=gates.get(_OF_TOPOLOGY, False))


def controller_of(live: Live) -> Controller | None:
    """Kueue's controller, where it can be seen."""
    found = live.find_anywhere(DEPLOYMENTS, HOME, selector=_CALLED)
    return Controller(found[0]) if found else None


def _gate(found: Controller, gates: dict[str, bool]) -> Findings:
    version = f"Kueue {found.version or 'of a version that its image does not name'}"
    if _GATE not in gates and found.release is None:
        yield unknown(_ABOUT, f"{version} has its gate {_GATE} on from 0.18", "the line `dry run` tells")
    elif gates.get(_GATE, (found.release or _ON_SINCE) >= _ON_SINCE):
        yield ok(_ABOUT, f"{version} takes it: its gate {_GATE} is on")
    else:
        helm = f"'controllerManager.featureGates[0].name={_GATE},controllerManager.featureGates[0].enabled=true'"
        on = f"take {_GATE} out of the gates" if _GATE in gates else f"install 0.18 or newer, or add --set {helm}"
        said = f"{version} refuses it: its gate {_GATE} is off"
        yield missing(_ABOUT, said, f"{on} of {found.where}; or {_ONE_NUMBER}")


def _topology(live: Live, cluster_queue: Object, *, is_on: bool) -> Findings:
    name = cluster_queue["metadata"]["name"]
    try:
        near = [each for each in resource_flavors(live, cluster_queue) if (each.get("spec") or {}).get("topologyName")]
    except Hidden as hidden:
        yield unknown(_ABOUT, f"whether the flavors of ClusterQueue {name} have a topology {hidden}")
        return
    if near and not is_on:
        flavors = ", ".join(each["metadata"]["name"] for each in near)
        said = f"ClusterQueue {name} chooses nodes by topology ({flavors}), which Kueue does for jobs of one size only"
        yield warning(_ABOUT, said, f"{_ONE_NUMBER}, or a queue without components/topology ({_OF_TOPOLOGY} is alpha)")


def _gates(live: Live, found: Controller) -> dict[str, bool]:
    """What was said of its gates; may raise Hidden, Unread."""
    path = found.flag("config")
    if found.gates or path is None:
        return found.gates
    given = settings_of(live, found, path).get("featureGates")
    return {str(name): value is True for name, value in given.items()} if isinstance(given, dict) else {}
