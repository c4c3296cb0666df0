"""What `job=check` says of priorities and of Kueue's queues."""

import pytest

from platform.kubernetes.check import queues
from platform.kubernetes.check.finding import MISSING, OK, UNKNOWN, WARNING
from tests.kube.apiserver import ApiServer
from tests.kube.checking import ENSEMBLE, found, job_of, one

pytestmark = pytest.mark.slow
QUEUE = "cluster.kube.queue=platform"
STOPPED = {
    "conditions": [{"type": "Active", "status": "False", "reason": "Stopped", "message": "LocalQueue is stopped"}]
}


def test_priorities(good_cluster: ApiServer):
    assert found(queues.priority_class) == found(queues.queue) == found(queues.queue_priority) == []
    assert one(queues.priority_class, "cluster.kube.priority_class=platform-low") == (OK, "PriorityClass platform-low")
    state, said = one(queues.priority_class, "cluster.kube.priority_class=urgent")
    assert (state, said.partition(":")[0]) == (MISSING, "PriorityClass urgent does not exist")
    urgent = [QUEUE, "cluster.kube.queue_priority=urgent"]
    state, said = one(queues.queue_priority, *urgent)
    assert (state, said.partition(":")[0]) == (MISSING, "WorkloadPriorityClass urgent does not exist")
    assert one(queues.queue_priority, QUEUE, "cluster.kube.queue_priority=platform-low")[0] == OK


def test_a_queue(good_cluster: ApiServer):
    assert found(queues.queue, QUEUE) == [
        (OK, "LocalQueue platform is active, 0 job(s) wait in it"),
        (OK, "ClusterQueue platform is active and covers what the job takes"),
    ]
    state, said = one(queues.queue, "cluster.kube.queue=research")
    assert (state, said.partition(":")[0]) == (MISSING, "LocalQueue research is not in namespace platform")
    good_cluster.objects.one("localqueues", "platform")["status"] = STOPPED
    state, said = found(queues.queue, QUEUE)[0]
    assert (state, said.partition(";")[0]) == (MISSING, "LocalQueue platform is not active: LocalQueue is stopped")
    good_cluster.objects.one("localqueues", "platform")["status"] = {}
    assert "is its controller running?" in found(queues.queue, QUEUE)[0][1]


def test_without_kueue(good_cluster: ApiServer):
    del good_cluster.objects.groups["kueue.x-k8s.io"]
    state, said = one(queues.queue, QUEUE)
    assert state == MISSING
    assert said.startswith("cluster.kube.queue is platform, and Kueue is not installed")


def test_the_cluster_queue_behind_it(good_cluster: ApiServer):
    def finding() -> tuple[str, str]:
        return found(queues.queue, QUEUE)[1]

    queue = good_cluster.objects.one("clusterqueues", "platform")
    flavors = queue["spec"]["resourceGroups"][0]["flavors"]
    flavors[0]["resources"][3]["nominalQuota"] = flavors[1]["resources"][3]["nominalQuota"] = "3"
    state, said = finding()
    assert (state, said.partition(":")[0]) == (
        MISSING,
        "ClusterQueue platform has nvidia.com/gpu 6, the job takes 7",
    )
    queue["spec"]["cohortName"] = "all"
    assert finding() == (
        WARNING,
        "ClusterQueue platform has nvidia.com/gpu 6, the job takes 7: it must borrow from cohort all",
    )
    flavors[1]["resources"][3]["nominalQuota"] = "6"  # 9 together, and the seven workers get one flavor
    said = "the worker pods get one flavor of ClusterQueue platform, and none has enough: "
    said += "platform-spot has nvidia.com/gpu 3 of 7; platform-on-demand has nvidia.com/gpu 6 of 7"
    assert finding() == (WARNING, f"{said}; it must borrow from cohort all")
    del queue["spec"]["cohortName"]
    assert finding() == (MISSING, f"{said}; the job is never started; raise its quota, or lower cluster.kube.pods")
    flavors[1]["resources"][3]["nominalQuota"] = "7"
    assert finding()[0] == OK
    for flavor in flavors:
        del flavor["resources"][2]
    state, said = finding()
    assert (state, said.partition(",")[0]) == (WARNING, "ClusterQueue platform does not cover ephemeral-storage")
    queue["status"] = STOPPED
    assert finding()[0] == MISSING
    good_cluster.objects.hidden.add("get clusterqueues")
    assert finding() == (UNKNOWN, "how much platform has needs the right to get clusterqueues.kueue.x-k8s.io")
    good_cluster.objects.hidden.clear()
    good_cluster.objects.remove("clusterqueues")
    assert finding()[0] == MISSING


def test_a_range_of_pods_wants_a_gate_of_kueue_that_cannot_be_asked_for(good_cluster: ApiServer):
    state, said = found(queues.queue, QUEUE, "cluster.kube.pods={min:1,max:4}")[1]
    assert state == UNKNOWN
    assert "ElasticJobsViaWorkloadSlices" in said


def test_what_kueue_counts():
    """Its own figure for the autoscaler's container, 500m and 512Mi, where ours asks for less."""
    plain, scaled = (job_of(*ENSEMBLE, QUEUE, f"cluster.kube.pods={pods}") for pods in ("1", "{min:1,max:4}"))
    more = {
        resource: queues.counted(scaled)[resource] - queues.counted(plain)[resource] for resource in ("cpu", "memory")
    }
    assert more == {"cpu": 0.5, "memory": 512 * 2**20}
