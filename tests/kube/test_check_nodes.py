"""What `job=check` says of nodes: where workers, head and submitter fit, behind a queue or not; GPUs."""

from typing import Any

import pytest

from platform.kubernetes.check import nodes
from platform.kubernetes.check.finding import OK, UNKNOWN, WARNING
from tests.kube.apiserver import ApiServer
from tests.kube.checking import ENSEMBLE, all_of, found, job_of, one, with_subject
from tests.kube.good_cluster import node

pytestmark = pytest.mark.slow
QUEUE = "cluster.kube.queue=platform"
SPOT = "cloud.google.com/gke-spot"


def test_nodes_have_room(good_cluster: ApiServer):
    assert one(nodes.nodes) == (OK, "8 nodes have room for 64 worker pods when nothing else runs")
    assert one(nodes.gpus) == (OK, "64 nvidia.com/gpu on 8 nodes (NVIDIA-H200)")
    state, said = one(nodes.nodes, "cluster.kube.pods=80")
    assert (state, said.partition(";")[0]) == (
        WARNING,
        "8 nodes have room for 64 worker pods at once, the job wants 80",
    )
    state, said = one(nodes.nodes, "cluster.cpus_per_worker=96")
    assert (state, said.partition(";")[0]) == (WARNING, "a worker pod takes cpu 96, the largest node has 95")


def test_labels_and_capacity_of_nodes(good_cluster: ApiServer):
    state, said = one(nodes.nodes, "+cluster.kube.node_selector={pool: b200}")
    assert (state, said.partition(";")[0]) == (WARNING, "none of 9 nodes has labels pool=b200")
    assert one(nodes.nodes, "+cluster.kube.node_selector={pool: h200}")[0] == OK
    assert one(nodes.nodes, "cluster.kube.capacity=spot")[0] == OK
    state, said = one(nodes.nodes, "cluster.kube.capacity=on_demand")  # the ninth has no GPU
    assert (state, said.partition(";")[0]) == (WARNING, "a worker pod takes nvidia.com/gpu 1, the largest node has 0")
    state, said = one(nodes.nodes, "cluster.kube.capacity=spot", "cluster.kube.provider=eks")
    assert (state, said.partition(";")[0]) == (WARNING, "none of 9 nodes has spot capacity of eks")


def test_taints_that_workers_do_not_tolerate(good_cluster: ApiServer):
    for number in range(8):
        taint = {"key": "team", "value": "vision", "effect": "NoSchedule"}
        good_cluster.objects.one("nodes", f"gpu-{number}")["spec"]["taints"].append(taint)
    state, said = one(nodes.nodes, "+cluster.kube.node_selector={pool: h200}")
    assert state == WARNING
    assert said.startswith("all 8 nodes that fit have taints that workers do not tolerate, such as team:NoSchedule")


def test_nodes_without_gpus(good_cluster: ApiServer):
    assert found(nodes.gpus, "cluster.gpus_per_worker=0") == []
    good_cluster.objects.remove("nodes")
    made = node("gpu-0", cpu="95", memory="1000Gi")
    good_cluster.objects.add("v1", "nodes", made)
    assert one(nodes.gpus)[1].startswith("no node offers nvidia.com/gpu; add GPU nodes")
    made["metadata"]["labels"]["nvidia.com/gpu.present"] = "true"
    good_cluster.objects.add("v1", "nodes", made)
    assert one(nodes.gpus)[1].startswith("1 nodes have GPUs, and none offers nvidia.com/gpu; kubectl get pods")
    made["status"]["allocatable"]["nvidia.com/mig-1g.18gb"] = "7"
    good_cluster.objects.add("v1", "nodes", made)
    state, said = one(nodes.gpus)
    assert (state, said) == (
        WARNING,
        "no node offers nvidia.com/gpu, some offer nvidia.com/mig-1g.18gb; "
        "cluster.kube.gpu_resource=nvidia.com/mig-1g.18gb takes one",
    )
    assert one(nodes.gpus, "cluster.kube.gpu_resource=nvidia.com/mig-1g.18gb")[0] == OK


def test_nodes_that_are_cordoned_do_not_count(good_cluster: ApiServer):
    for number in range(1, 8):
        good_cluster.objects.one("nodes", f"gpu-{number}")["spec"]["unschedulable"] = True
    assert one(nodes.nodes) == (OK, "1 nodes have room for 8 worker pods when nothing else runs")


def taint(server: ApiServer, name: str, key: str = "CriticalAddonsOnly", effect: str = "NoSchedule") -> None:
    """As a pool for the cluster's own pods has it."""
    server.objects.one("nodes", name)["spec"]["taints"].append({"key": key, "value": "true", "effect": effect})


def head_and_submitter(*words: str) -> dict[str, tuple[str, str]]:
    return {about: (state, said) for about, state, said in with_subject(nodes.head_and_submitter, *words)}


def test_head_and_submitter_fit_beside_the_workers_nodes(good_cluster: ApiServer):
    said = (OK, "1 of 9 nodes have room for it when nothing else runs")
    assert head_and_submitter() == {"head": said, "submitter": said}
    assert head_and_submitter("cluster.kube.capacity=spot") == {"head": said, "submitter": said}


def test_a_head_without_a_node_of_its_own_is_said_where_workers_have_theirs(good_cluster: ApiServer):
    """GPU nodes are spot and tainted, and the only other one is for the cluster's own pods."""
    taint(good_cluster, "system-0")
    assert one(nodes.nodes, "cluster.kube.capacity=spot")[0] == OK
    said = head_and_submitter("cluster.kube.capacity=spot")
    assert said["head"] == (
        WARNING,
        "all 1 nodes that fit have taints that the head does not tolerate, such as CriticalAddonsOnly:NoSchedule: the "
        "job waits; add an untainted on-demand node with 2 CPUs and 8Gi, or a node autoscaler must add one",
    )
    assert said["submitter"] == (
        WARNING,
        "all 9 nodes that fit have taints that the submitter does not tolerate, such as nvidia.com/gpu:NoSchedule: the "
        "job waits; add an untainted node with 0.1 CPUs and 0.5Gi, or a node autoscaler must add one",
    )
    seen = {finding.about: finding.state for finding in all_of(job_of(*ENSEMBLE, "cluster.kube.capacity=spot"))}
    assert seen["head"] == seen["submitter"] == WARNING


def test_a_head_keeps_off_spot_nodes_unless_any_will_do(good_cluster: ApiServer):
    good_cluster.objects.remove("nodes")
    spot = node("spot-0", cpu="16", memory="60Gi", labels={SPOT: "true"})
    good_cluster.objects.add("v1", "nodes", spot)
    assert {state for state, _ in head_and_submitter().values()} == {OK}  # capacity=any: a wish
    state, said = head_and_submitter("cluster.kube.capacity=spot")["head"]
    assert state == WARNING
    assert said.startswith("none of 1 nodes has on-demand capacity: the job waits; add an")
    assert head_and_submitter("cluster.kube.capacity=spot")["submitter"][0] == OK


def test_a_head_is_too_large_or_no_node_takes_pods(good_cluster: ApiServer):
    state, said = head_and_submitter("cluster.kube.head_memory_gb=64")["head"]
    assert (state, said.partition(":")[0]) == (WARNING, "the head takes memory 64Gi, the largest node has 60Gi")
    good_cluster.objects.remove("nodes", "gpu-.")
    good_cluster.objects.one("nodes", "system-0")["spec"]["unschedulable"] = True
    assert head_and_submitter()["submitter"][1].startswith("there is no node that takes pods: the job waits")


def test_a_flavor_brings_its_labels_and_tolerations(good_cluster: ApiServer):
    """Behind a queue the head may go where Kueue's flavor lets it: onto a GPU node whose taint the flavor tolerates."""
    assert {state for state, _ in head_and_submitter(QUEUE).values()} == {OK}
    taint(good_cluster, "system-0")
    good_cluster.objects.one("nodes", "gpu-0")["metadata"]["labels"] = {"cloud.google.com/gke-provisioning": "standard"}
    said = head_and_submitter(QUEUE)
    assert said["head"] == (OK, "1 of 9 nodes have room for it when nothing else runs")
    assert said["submitter"] == (OK, "8 of 9 nodes have room for it when nothing else runs")
    assert {state for state, _ in head_and_submitter().values()} == {WARNING}


def test_nodes_without_the_labels_of_a_flavor(good_cluster: ApiServer):
    good_cluster.objects.one("nodes", "system-0")["metadata"]["labels"] = {}
    state, said = head_and_submitter(QUEUE)["head"]
    assert state == WARNING
    assert said.startswith(
        "none of 9 nodes has on-demand capacity and the labels of a flavor of queue platform "
        "(cloud.google.com/gke-spot=true; or cloud.google.com/gke-provisioning=standard): the job waits"
    )


def test_spot_nodes_whose_taint_only_the_flavor_tolerates(good_cluster: ApiServer):
    for number in range(8):
        taint(good_cluster, f"gpu-{number}", SPOT)
    assert one(nodes.nodes)[0] == WARNING
    assert one(nodes.nodes, QUEUE) == (OK, "8 nodes have room for 64 worker pods when nothing else runs")


@pytest.mark.parametrize(
    ("toleration", "state"),
    [
        ({"operator": "Exists"}, OK),
        ({"key": "CriticalAddonsOnly", "operator": "Exists"}, OK),
        ({"key": "CriticalAddonsOnly", "value": "true", "effect": "NoSchedule"}, OK),
        ({"key": "CriticalAddonsOnly", "value": "false"}, WARNING),
        ({"key": "CriticalAddonsOnly", "operator": "Exists", "effect": "NoExecute"}, WARNING),
        ({"key": "other", "operator": "Exists"}, WARNING),
    ],
)
def test_what_tolerates_a_taint(good_cluster: ApiServer, toleration: dict[str, Any], state: str):
    taint(good_cluster, "system-0")
    good_cluster.objects.one("resourceflavors", "platform-on-demand")["spec"]["tolerations"] = [toleration]
    assert head_and_submitter(QUEUE)["head"][0] == state


def test_flavors_that_may_not_be_seen_leave_it_unknown(good_cluster: ApiServer):
    good_cluster.objects.hidden.add("get resourceflavors")
    seen = {finding.about: finding for finding in all_of(job_of(*ENSEMBLE, QUEUE))}
    assert seen["head"].state == seen["nodes"].state == UNKNOWN
    assert seen["head"].said == "needs the right to get resourceflavors.kueue.x-k8s.io"
