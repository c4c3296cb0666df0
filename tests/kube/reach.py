"""Who reaches whom under the network policies of a build: what a network plugin would decide for a connection."""

from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

Policy = dict[str, Any]


@dataclass(frozen=True)
class Peer:
    """A pod (labels, namespace's name) or an address outside the cluster."""

    labels: tuple[tuple[str, str], ...] = ()
    namespace: str = "platform"
    address: str | None = None

    @classmethod
    def pod(cls, labels: dict[str, str], namespace: str = "platform") -> "Peer":
        return cls(tuple(sorted(labels.items())), namespace)


def reaches(policies: list[Policy], source: Peer, target: Peer, port: int, protocol: str = "TCP") -> bool:
    """Both ends have a say: the source's egress and the target's ingress."""
    leaves = _allowed(policies, "Egress", source, target, port, protocol)
    return leaves and _allowed(policies, "Ingress", target, source, port, protocol)


def _allowed(policies: list[Policy], side: str, end: Peer, other: Peer, port: int, protocol: str) -> bool:
    """Nothing said of a pod: everything; something said: what any of it allows."""
    if end.address is not None:
        return True
    said = [each for each in policies if _concerns(each, side, end)]
    rules = [rule for each in said for rule in each["spec"].get(side.lower(), [])]
    return not said or any(_fits(rule, side, end, other, port, protocol) for rule in rules)


def _concerns(policy: Policy, side: str, end: Peer) -> bool:
    spec = policy["spec"]
    here = policy["metadata"]["namespace"] == end.namespace
    return here and side in spec["policyTypes"] and selects(spec["podSelector"], dict(end.labels))


def _fits(rule: dict[str, Any], side: str, end: Peer, other: Peer, port: int, protocol: str) -> bool:
    peers = rule.get("to" if side == "Egress" else "from")
    ports = rule.get("ports")
    open_port = ports is None or any(each["port"] == port and each.get("protocol", "TCP") == protocol for each in ports)
    return open_port and (peers is None or any(_is(peer, end, other) for peer in peers))


def _is(peer: dict[str, Any], end: Peer, other: Peer) -> bool:
    if "ipBlock" in peer:
        if other.address is None:
            return False
        block, here = peer["ipBlock"], ip_address(other.address)
        inside = here in ip_network(block["cidr"])
        return inside and not any(here in ip_network(each) for each in block.get("except", []))
    if other.address is not None:
        return False
    if "namespaceSelector" in peer:
        near = selects(peer["namespaceSelector"], {"kubernetes.io/metadata.name": other.namespace})
    else:
        near = other.namespace == end.namespace
    return near and selects(peer.get("podSelector", {}), dict(other.labels))


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """A label selector; the empty one selects everything."""
    matched = all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
    return matched and all(_expressed(each, labels) for each in selector.get("matchExpressions", []))


def _expressed(expression: dict[str, Any], labels: dict[str, str]) -> bool:
    value = labels.get(expression["key"])
    match expression["operator"]:
        case "In":
            return value in expression["values"]
        case "NotIn":
            return value not in expression["values"]
        case "Exists":
            return value is not None
        case _:
            return value is None
