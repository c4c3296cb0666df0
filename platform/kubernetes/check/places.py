"""Where pods fit: nodes by their labels, taints and size, as they are when nothing else runs there.

In: nodes, the spec of a pod, flavors of Kueue's, as plain dicts. Out: how many such pods each node takes.
"""

from dataclasses import dataclass
from decimal import Decimal

from platform.kubernetes.check.amounts import Amounts, amounts, of_pod, shown
from platform.kubernetes.client import Object


@dataclass(frozen=True)
class Places:
    """What is left of the nodes, one condition after another."""

    seen: list[Object]  # not cordoned
    chosen: list[Object]  # with the labels that the pod asks for
    taint: str  # one that keeps it from a chosen node; "": from none of them
    tolerated: list[Object]  # chosen, and without taints that keep it away
    room: dict[str, int]  # name of each of them -> number of such pods

    @property
    def together(self) -> int:
        """Number of such pods that fit at once."""
        return sum(self.room.values())

    @property
    def roomy(self) -> int:
        """Number of nodes that take at least one."""
        return sum(map(bool, self.room.values()))


@dataclass(frozen=True)
class _Form:
    """What a pod asks of its node, in one of the flavors that it may be given."""

    labels: list[dict[str, str]]
    terms: list[Object] | None  # of the node affinity, of which one must hold
    tolerations: list[Object]


def places(nodes: list[Object], spec: Object, flavors: list[Object]) -> Places:
    """Find the nodes that take a pod.

    Args:
        nodes: of the cluster.
        spec: of the pod.
        flavors: ResourceFlavors, of which Kueue gives the pod one, with its labels and tolerations; none: no queue.
    """
    seen = [node for node in nodes if not (node.get("spec") or {}).get("unschedulable")]
    forms = [_form(spec, each.get("spec") or {}) for each in flavors] or [_form(spec, {})]
    fitting = [(node, [form for form in forms if _is_chosen(node, form)]) for node in seen]
    chosen = [(node, min((_taints(node, form) for form in held), key=len)) for node, held in fitting if held]
    tolerated = [node for node, taints in chosen if not taints]
    needed = of_pod(spec, "requests")
    return Places(
        seen,
        [node for node, _ in chosen],
        next((taint for _, taints in chosen for taint in taints), ""),
        tolerated,
        {node["metadata"]["name"]: _room(node, needed) for node in tolerated},
    )


def required_terms(spec: Object) -> list[Object] | None:
    """The terms of a pod's node affinity, of which one must hold; None: every node will do."""
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    return (affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}).get("nodeSelectorTerms")


def short(there: list[Object], needed: Amounts) -> str:
    """The resource that the largest node has too little of."""
    for resource in needed:
        largest = max(allocatable(node).get(resource, Decimal(0)) for node in there)
        if largest < needed[resource]:
            return f"{resource} {shown(resource, needed[resource])}, the largest node has {shown(resource, largest)}"
    return "more of everything together than one node has"


def allocatable(node: Object) -> Amounts:
    """What a node has for pods."""
    return amounts((node.get("status") or {}).get("allocatable"))


def labels(node: Object) -> dict[str, str]:
    """The labels of a node."""
    return node["metadata"].get("labels") or {}


def _form(spec: Object, flavor: Object) -> _Form:
    return _Form(
        [spec.get("nodeSelector") or {}, flavor.get("nodeLabels") or {}],
        required_terms(spec),
        [*(spec.get("tolerations") or []), *(flavor.get("tolerations") or [])],
    )


def _is_chosen(node: Object, form: _Form) -> bool:
    """Whether a node has the labels that the pod's selector and affinity ask for."""
    held, terms = labels(node), form.terms
    if not all(asked.items() <= held.items() for asked in form.labels):
        return False
    return terms is None or any(all(_matches(held, each) for each in term["matchExpressions"]) for term in terms)


def _matches(held: dict[str, str], expression: Object) -> bool:
    is_in = held.get(expression["key"]) in expression["values"]
    return is_in if expression["operator"] == "In" else not is_in


def _taints(node: Object, form: _Form) -> list[str]:
    """Taints that keep the pod away."""
    return [
        f"{taint['key']}:{taint['effect']}"
        for taint in (node.get("spec") or {}).get("taints") or []
        if taint.get("effect") in ("NoSchedule", "NoExecute")
        and not any(_tolerates(each, taint) for each in form.tolerations)
    ]


def _tolerates(toleration: Object, taint: Object) -> bool:
    """Whether a toleration is for a taint: without a key for all, without an effect for each."""
    if (
        toleration.get("key", taint["key"]) != taint["key"]
        or toleration.get("effect", taint["effect"]) != taint["effect"]
    ):
        return False
    return toleration.get("operator") == "Exists" or toleration.get("value", "") == taint.get("value", "")


def _room(node: Object, needed: Amounts) -> int:
    """How many such pods an empty node takes."""
    offered = allocatable(node)
    return min(int(offered.get(each, Decimal(0)) // needed[each]) for each in needed if needed[each])
