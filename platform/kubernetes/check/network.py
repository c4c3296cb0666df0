"""Network policies: there, enforced by the network plugin as far as its pods tell, and letting the operator in.

In: the job. Out: findings.
"""

import re

from platform.kubernetes.check.controller import Controller
from platform.kubernetes.check.finding import Findings, ok, unknown, warning
from platform.kubernetes.check.job import Job, labels_of
from platform.kubernetes.check.kuberay import HOME, operator_of
from platform.kubernetes.check.live import DAEMON_SETS, NODES, POLICIES, Hidden, Live
from platform.kubernetes.client import Object

DASHBOARD = 8265
ENFORCING = (
    "calico-node",
    "canal",
    "cilium",
    "anetd",
    "antrea-agent",
    "kube-router",
    "ovnkube-node",
    "weave-net",
    "azure-npm",
)
IGNORING = ("kube-flannel-ds", "kube-flannel")
_KINDNET_DATE = 20240813  # of the image in kind 0.24, the first whose kindnet enforces policies


def policies(live: Live, job: Job) -> Findings:
    """Whether there are any, and whether the operator may ask the head for the job's state."""
    found = live.find(POLICIES, job.namespace)
    if not found:
        said = f"no network policy in namespace {job.namespace}: everything may talk to the job's pods"
        yield warning("network", said, "apply an overlay, which has them")
        return
    yield ok("network", f"{len(found)} network policies")
    try:
        operator = operator_of(live)
    except Hidden:
        operator = None
    if operator is not None and not lets_in(found, labels_of(job.head.template), operator):
        said = (
            f"no policy lets the operator in {operator.namespace} ask the head (port {DASHBOARD}): the job never starts"
        )
        remedy = f"patch the policy `head` of k8s/base with its namespace and labels (expected: {HOME})"
        yield warning("network", said, remedy)


def enforcement(live: Live, job: Job) -> Findings:
    """Which network plugin there is, by its DaemonSet, and whether it enforces policies."""
    there = {each["metadata"]["name"]: each for each in live.find_anywhere(DAEMON_SETS, "kube-system")}
    for name in ENFORCING:
        if name in there:
            yield ok("enforcement", f"{name} enforces network policies")
            return
    if "aws-node" in there:
        yield from _of_aws(there["aws-node"])
    elif "kindnet" in there:
        yield from _of_kind(there["kindnet"])
    elif ignoring := next((name for name in IGNORING if name in there), None):
        said = f"{ignoring} does not enforce network policies: everything may talk to the job's pods"
        yield warning("enforcement", said, "use a plugin that does (Calico, Cilium, kube-router)")
    elif _is_k3s(live):
        yield ok("enforcement", "k3s enforces network policies itself")
    else:
        yield unknown("enforcement", "no network plugin that is known here", "ask who runs the cluster")


def lets_in(found: list[Object], head: dict[str, str], operator: Controller) -> bool:
    """Whether the policies let the operator's pods reach the dashboard of a pod with the labels `head`."""
    of_head = [
        policy["spec"]
        for policy in found
        if selects(policy["spec"].get("podSelector"), head)
        and "Ingress" in policy["spec"].get("policyTypes", ["Ingress"])
    ]
    if not of_head:
        return True
    namespace, pod = {"kubernetes.io/metadata.name": operator.namespace}, labels_of(operator.template)
    for rule in (rule for spec in of_head for rule in spec.get("ingress") or []):
        ports = rule.get("ports")
        opens = ports is None or any(_is_port(each, DASHBOARD) for each in ports)
        peers = rule.get("from")
        if opens and (peers is None or any(_is_peer(peer, namespace, pod) for peer in peers)):
            return True
    return False


def selects(selector: Object | None, labels: dict[str, str]) -> bool:
    """Whether a label selector takes these labels; an empty one takes all."""
    selector = selector or {}
    if not (selector.get("matchLabels") or {}).items() <= labels.items():
        return False
    for each in selector.get("matchExpressions") or []:
        value, operator, values = labels.get(each["key"]), each["operator"], each.get("values") or []
        holds = {
            "In": value in values,
            "NotIn": value not in values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }[operator]
        if not holds:
            return False
    return True


def _is_port(given: Object, port: int) -> bool:
    first = given.get("port")
    return (
        first is None
        or first in (port, "dashboard")
        or (isinstance(first, int) and first <= port <= given.get("endPort", first))
    )


def _is_peer(peer: Object, namespace: dict[str, str], pod: dict[str, str]) -> bool:
    """Whether it is pods of the operator. An address range may be: that is not known here."""
    if "ipBlock" in peer:
        return True
    return (
        "namespaceSelector" in peer
        and selects(peer["namespaceSelector"], namespace)
        and selects(peer.get("podSelector"), pod)
    )


def _of_aws(found: Object) -> Findings:
    containers = found["spec"]["template"]["spec"]["containers"]
    words = [str(word) for each in containers for word in each.get("args") or []]
    if "--enable-network-policy=true" in words:
        yield ok("enforcement", "aws-node (Amazon VPC CNI) enforces network policies")
        return
    said = "aws-node (Amazon VPC CNI) has network policies off: everything may talk to the job's pods"
    yield warning("enforcement", said, "set enableNetworkPolicy of the add-on vpc-cni to true")


def _of_kind(found: Object) -> Findings:
    image = found["spec"]["template"]["spec"]["containers"][0]["image"]
    date = re.search(r":v(\d{8})", image)
    if date is None:
        yield unknown(
            "enforcement", f"kindnet of an unknown date ({image})", "kind enforces network policies since 0.24"
        )
    elif int(date[1]) < _KINDNET_DATE:
        yield warning(
            "enforcement", "this kindnet does not enforce network policies", "make the cluster with kind 0.24 or newer"
        )
    else:
        yield ok("enforcement", "kindnet enforces network policies")


def _is_k3s(live: Live) -> bool:
    try:
        nodes = live.find(NODES)
    except Hidden:
        return False
    return any("+k3s" in ((node.get("status") or {}).get("nodeInfo") or {}).get("kubeletVersion", "") for node in nodes)
