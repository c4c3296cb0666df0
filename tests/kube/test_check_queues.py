"""What `job=check` says of priorities and of Kueue's queues."""

from decimal import Decimal

import pytest

from platform.kubernetes.check import queues
from platform.kubernetes.check.finding import MISSING, OK, UNKNOWN, WARNING
from tests.kube.apiserver import ApiServer
from tests.kube.checking import ENSEMBLE, found, job_of, one, with_subject
from tests.kube.good_cluster import kueue, kueue_settings

pytestmark = pytest.mark.slow
GATE = "ElasticJobsViaWorkloadSlices"
RANGE = "cluster.kube.pods={min:1,max:4}"
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


def test_what_kueue_counts(good_cluster: ApiServer):
    """The autoscaler with its own resources: Kueue 0.19 takes its defaults (500m, 512Mi) only where there are none."""
    plain, scaled = (job_of(*ENSEMBLE, QUEUE, f"cluster.kube.pods={pods}") for pods in ("1", "{min:1,max:4}"))
    more = {
        resource: queues.counted(scaled)[resource] - queues.counted(plain)[resource] for resource in ("cpu", "memory")
    }
    assert more == {"cpu": Decimal("0.2"), "memory": 512 * 2**20}
    assert queues.counted(scaled)["cpu"] == Decimal("10.3")  # a head of 2, a worker of 8, a submitter of 0.1
    flavors = good_cluster.objects.one("clusterqueues", "platform")["spec"]["resourceGroups"][0]["flavors"]
    flavors[0]["resources"][0]["nominalQuota"], flavors[1]["resources"][0]["nominalQuota"] = "0", "10.3"
    assert found(queues.queue, QUEUE, RANGE)[-1][0] == OK
    flavors[1]["resources"][0]["nominalQuota"] = "10.2"
    state, said = found(queues.queue, QUEUE, RANGE)[-1]
    assert (state, said.partition(":")[0]) == (MISSING, "ClusterQueue platform has cpu 10.2, the job takes 10.3")


def range_of_pods() -> list[tuple[str, str]]:
    seen = with_subject(queues.queue, QUEUE, RANGE)
    return [(state, said) for about, state, said in seen if about == "range of pods"]


def test_a_range_of_pods_is_taken_where_the_gate_of_kueue_is_on(good_cluster: ApiServer):
    assert "range of pods" not in [about for about, _, _ in with_subject(queues.queue, QUEUE)]
    taken = (OK, "Kueue v0.19.2 takes it: its gate ElasticJobsViaWorkloadSlices is on")
    assert range_of_pods() == [taken]
    good_cluster.objects.add("apps/v1", "deployments", kueue(image="registry.example.com:5000/kueue:v0.18.0"))
    assert range_of_pods()[0][0] == OK
    old = "registry.k8s.io/kueue/kueue:v0.17.8"
    good_cluster.objects.add("apps/v1", "deployments", kueue(image=old))
    ((state, said),) = range_of_pods()
    assert (state, said.partition(";")[0]) == (
        MISSING,
        "Kueue v0.17.8 refuses it: its gate ElasticJobsViaWorkloadSlices is off",
    )
    assert "install 0.18 or newer, or add --set 'controllerManager.featureGates[0].name=" in said
    good_cluster.objects.add("apps/v1", "deployments", kueue(f"--feature-gates=A=true,{GATE}=true", image=old))
    assert range_of_pods() == [(OK, taken[1].replace("0.19.2", "0.17.8"))]
    good_cluster.objects.add("apps/v1", "deployments", kueue(f"--feature-gates={GATE}=false"))
    ((state, said),) = range_of_pods()
    assert state == MISSING
    assert f"take {GATE} out of the gates of -n kueue-system deployment/kueue-controller-manager; or give" in said


def test_the_gate_may_be_in_the_file_of_settings(good_cluster: ApiServer):
    good_cluster.objects.add("v1", "configmaps", kueue_settings(featureGates={GATE: False}))
    assert range_of_pods()[0][0] == MISSING
    good_cluster.objects.remove("configmaps")
    ((state, said),) = range_of_pods()
    assert (state, "is in no ConfigMap" in said, "the line `dry run` tells" in said) == (UNKNOWN, True, True)


def test_where_kueues_controller_is_not_seen_the_dry_run_tells(good_cluster: ApiServer):
    digest = "registry.k8s.io/kueue/kueue@sha256:" + "0" * 64
    good_cluster.objects.add("apps/v1", "deployments", kueue(image=digest))
    ((state, said),) = range_of_pods()
    assert (state, said.endswith("the line `dry run` tells")) == (UNKNOWN, True)
    good_cluster.objects.hidden.add("list deployments")
    ((state, said),) = range_of_pods()
    assert (state, "needs the right to list deployments.apps in namespace kueue-system" in said) == (UNKNOWN, True)
    good_cluster.objects.hidden.clear()
    good_cluster.objects.remove("deployments")
    assert range_of_pods()[0][0] == UNKNOWN


def test_a_range_of_pods_and_a_queue_with_a_topology_do_not_go_together(good_cluster: ApiServer):
    good_cluster.objects.one("resourceflavors", "platform-spot")["spec"]["topologyName"] = "platform"
    assert [state for about, state, _ in with_subject(queues.queue, QUEUE) if about != "queue"] == [OK]
    state, said = range_of_pods()[1]
    assert (state, said.partition(";")[0]) == (
        WARNING,
        "ClusterQueue platform chooses nodes by topology (platform-spot), which Kueue does for jobs of one size only",
    )
    assert "ElasticJobsViaWorkloadSlicesWithTAS is alpha" in said
    on = kueue(f"--feature-gates={GATE}=true,{GATE}WithTAS=true")
    good_cluster.objects.add("apps/v1", "deployments", on)
    assert [state for state, _ in range_of_pods()] == [OK]
    good_cluster.objects.hidden.add("get resourceflavors")
    good_cluster.objects.add("apps/v1", "deployments", kueue())
    state, said = range_of_pods()[1]
    assert (state, said.endswith("needs the right to get resourceflavors.kueue.x-k8s.io")) == (UNKNOWN, True)
