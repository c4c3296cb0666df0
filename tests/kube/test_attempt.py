"""Why pods of this attempt wait, in the words of Kubernetes 1.36 and KubeRay 1.7: not those of earlier ones."""

from typing import Any

import pytest

from platform.kubernetes.attempt import Attempt
from platform.kubernetes.client import Object
from platform.kubernetes.pods import situation, unschedulable
from platform.kubernetes.states import state

QUOTA = "exceeded quota: gpus, requested: requests.nvidia.com/gpu=1, used: 6, limited: 6"
REFUSED = f'pods "ens-b-workers-worker-x7k2p" is forbidden: {QUOTA}'
CREATED = "2026-11-29T10:00:00Z"
STARTED = "2026-11-29T12:00:00Z"


def job(failed: int = 0, cluster: str = "ens-b", workers: int = 7, **cluster_status: Any) -> Object:
    groups = [{"groupName": "workers", "replicas": workers, "numOfHosts": 1}]
    return {
        "metadata": {"name": "ens", "uid": "this", "creationTimestamp": CREATED},
        "spec": {"rayClusterSpec": {"workerGroupSpecs": groups}},
        "status": {
            "failed": failed, "rayClusterName": cluster, "startTime": STARTED, "rayClusterStatus": cluster_status,
        },
    }  # fmt: skip


def warning(about: str, reason: str, message: str, at: str = "2026-11-29T12:00:00.250000Z", **more: str) -> Object:
    """As the newer API of events has it: no lastTimestamp, microseconds."""
    kind = {"kind": "RayCluster" if "-" in about else "RayJob", "name": about, **more}
    return {"involvedObject": kind, "reason": reason, "message": message, "eventTime": at, "lastTimestamp": None}


def pod(name: str, phase: str = "Running", cluster: str = "ens-b", **status: Any) -> Object:
    labels = {"ray.io/cluster": cluster} if cluster else {"job-name": "ens"}
    return {"metadata": {"name": name, "labels": labels}, "status": {"phase": phase, **status}}


def test_pods_that_were_refused_are_counted_beside_those_that_run():
    there = [pod("head"), *(pod(f"worker-{number}") for number in range(5)), pod("submitter", cluster="")]
    said = [
        warning("ens-b", "FailedToCreateWorkerPod", f"Failed to create worker Pod for the cluster p/ens-b, {REFUSED}")
    ]
    attempt = Attempt(job())
    assert situation(there, said, attempt.pods, attempt.refusal(said)) == (
        f"waiting for 2 of 9 pods (2 of 8 pods: {QUOTA})"
    )
    assert situation([*there, pod("a"), pod("b")], said, attempt.pods, attempt.refusal(said)) == ""


def unready(name: str, status: str = "False", **more: Any) -> Object:
    return pod(name, conditions=[{"type": "Ready", "status": status}], containerStatuses=[{"ready": True}], **more)


def unhealthy(about: str, message: str, count: int) -> Object:
    return {**warning(about, "Unhealthy", message), "count": count}


def test_pods_in_which_ray_starts_are_counted_and_their_probes_are_no_trouble_until_they_last():
    asked = 'Get "http://10.244.1.{0}:52365/api/healthz": dial tcp 10.244.1.{0}:52365: connect: {1}'
    ask = f"Readiness probe failed: {asked}"
    both = [unready("a"), unready("b")]
    early = [unhealthy(name, ask.format(n, "connection refused"), 3) for n, name in enumerate("ab")]
    assert situation(both, early) == "waiting for 2 of 2 pods (2 starting)"
    late = [unhealthy(name, ask.format(n, "connection refused"), 12) for n, name in enumerate("ab")]
    told = "Unhealthy: Readiness probe failed"
    assert situation(both, late) == f"waiting for 2 of 2 pods (2 not ready: {told}: connection refused)"
    other = [unhealthy("a", "Readiness probe failed: HTTP probe failed with statuscode: 503", 1)]
    assert situation(both, other).endswith(
        "(1 not ready: Unhealthy: Readiness probe failed: HTTP probe failed with statuscode: 503)"
    )


def test_a_pod_on_a_node_that_does_not_answer_is_not_ready_though_its_containers_were():
    there = [pod("a"), unready("b"), unready("c", "True")]
    said = [warning("b", "NodeNotReady", "Node is not ready")]
    assert situation(there, said) == "waiting for 1 of 3 pods (1 not ready: NodeNotReady: Node is not ready)"


def test_a_pod_that_has_a_node_now_is_not_told_to_have_none():
    scheduled = {"type": "PodScheduled", "status": "True"}
    said = [warning("a", "FailedScheduling", "0/5 nodes are available: 5 Insufficient cpu.")]
    assert situation([pod("a", "Pending", conditions=[scheduled])], said) == "waiting for 1 of 1 pods"


def test_a_job_that_is_over_tells_of_the_attempt_that_ended_it():
    ended = job(failed=1)
    ended["spec"]["backoffLimit"] = 3
    ended["status"] |= {"jobDeploymentStatus": "Failed", "jobStatus": "FAILED"}
    assert state(ended) == "Failed (FAILED), attempt 1 of 4"
    ended["status"] |= {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}
    assert state(ended) == "Complete (SUCCEEDED), attempt 2 of 4"


def test_of_the_pods_that_submit_the_newest_counts():
    ended = {"name": "ray-job-submitter", "state": {"terminated": {"exitCode": 1, "reason": "Error"}}}
    lost = pod("first", "Failed", cluster="", containerStatuses=[ended])
    lost["metadata"]["creationTimestamp"] = STARTED
    second = pod("second", cluster="")
    second["metadata"]["creationTimestamp"] = "2026-11-29T12:05:00Z"
    assert situation([second, lost], []) == ""
    assert situation([lost], []) == "waiting for 1 of 1 pods (1 failed: ray-job-submitter ended with 1 (Error))"


def test_a_condition_of_the_raycluster_counts_where_there_are_no_events_any_more():
    conditions = [
        {"type": "RayClusterProvisioned", "status": "False", "reason": "RayClusterPodsProvisioning", "message": ""},
        {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreateWorkerPod",
         "message": f"FailedCreateWorkerPod\n{REFUSED}"},
    ]  # fmt: skip
    attempt = Attempt(job(conditions=conditions, desiredWorkerReplicas=7, availableWorkerReplicas=5))
    assert attempt.refusal([]) == QUOTA
    assert attempt.lack() == f"2 of 7 worker pods are missing: {QUOTA}"
    assert Attempt(job(conditions=conditions, desiredWorkerReplicas=7, availableWorkerReplicas=7)).lack() == ""
    assert Attempt(job(conditions=conditions[:1], desiredWorkerReplicas=7)).lack() == ""


@pytest.mark.parametrize(
    ("event", "counts"),
    [
        (warning("ens-b", "FailedToCreateHeadPod", "why"), True),
        (warning("ens-a", "FailedToCreateHeadPod", "why"), False),  # the attempt before had this cluster
        (warning("ens-b", "FailedToDeleteWorkerPod", "why"), False),
        (warning("ens", "FailedToCreateRayCluster", "why", uid="this"), True),
        (warning("ens", "FailedToCreateRayCluster", "why", uid="before"), False),
        (warning("ens", "FailedToCreateRayCluster", "why", at="2026-11-29T11:59:59.999999Z"), False),
        (warning("ens", "FailedToDeleteRayCluster", "why"), False),
        (warning("ens", "FailedCreate", "why", kind="Job"), True),  # the one that submits
        (warning("other", "FailedToCreateRayCluster", "why"), False),
    ],
)
def test_only_what_was_said_of_this_attempt_counts(event: Object, counts: bool):
    assert Attempt(job(failed=1)).refusal([event]) == ("why" if counts else "")


def test_an_event_that_was_seen_again_has_its_newest_time():
    event = warning("ens", "FailedToCreateRayCluster", "why", at="2026-11-29T10:00:00.5Z")
    event["series"] = {"count": 9, "lastObservedTime": "2026-11-29T12:30:00.000000Z"}
    assert Attempt(job(failed=1)).refusal([event]) == "why"


def test_between_two_attempts_nothing_is_said_of_the_one_before():
    said = [warning("ens", "FailedToCreateRayCluster", "why", at="2026-11-29T12:30:00Z")]
    assert Attempt(job(failed=1, cluster="")).refusal(said) == ""
    assert Attempt(job(failed=0, cluster="")).refusal(said) == "why"


@pytest.mark.parametrize(
    ("message", "short"),
    [
        (
            "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient nvidia.com/gpu. no new claims "
            "to deallocate, preemption: 0/3 nodes are available: 1 Preemption is not helpful for scheduling, 2 No "
            "preemption victims found for incoming pod.",
            "Insufficient nvidia.com/gpu, had untolerated taint(s)",
        ),
        (
            "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector. preemption: 0/2 nodes are "
            "available: 2 Preemption is not helpful for scheduling.",
            "didn't match Pod's node affinity/selector",
        ),
        (
            '0/1 nodes are available: persistentvolumeclaim "platform-data" not found. not found',
            'persistentvolumeclaim "platform-data" not found. not found',
        ),
        (
            "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. still not schedulable, "
            "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
            "pod has unbound immediate PersistentVolumeClaims",
        ),
        ("no nodes available to schedule pods", "no nodes available to schedule pods"),
    ],
)
def test_the_schedulers_message_is_shortened_to_what_matters(message: str, short: str):
    assert unschedulable({"message": message}) == short
