"""The manifest of a RayJob of KubeRay 1.7. Pure: `submit` talks to the cluster.

In: the composed config, the names of its members, the command line's overrides. Out: the manifest as plain dicts.
"""

import importlib.metadata
import math
import posixpath
from dataclasses import dataclass, replace
from typing import Any

from platform.config.checks import ConfigError, require
from platform.config.cluster import ClusterConfig
from platform.config.experiment import Experiment
from platform.config.kubernetes import KUBE_CRON_NAME, KUBE_NAME, KubeConfig
from platform.config.sections import Config
from platform.data.order import steps_of
from platform.data.urls import is_remote
from platform.experiment.fused_plan import teams
from platform.kubernetes.entrypoint import entrypoint, needs_cache, overrides_for_pods
from platform.kubernetes.names import annotations, name_of
from platform.kubernetes.templates import autoscaler, head, head_shared_gb, submitter, worker

GROUP = "ray.io/v1"
SUBMITTER_RETRIES = 3  # of the pod that submits: it finds the job it has submitted, and follows it
LAST_LINES_S = 30  # from a job's end to its cluster's, so that the submitter gets the last lines of the log
WITHOUT_WORKERS = ("deliver",)  # jobs that the launcher on the head does by itself


@dataclass(frozen=True)
class Pods:
    """How many worker pods."""

    least: int
    most: int

    @property
    def are_scaled(self) -> bool:
        return self.least < self.most


def rayjob(experiment: Experiment, given: Config, overrides: list[str]) -> dict[str, Any]:
    """Make the manifest of a RayJob, or of a RayCronJob with `cluster.kube.schedule`.

    Args:
        experiment: as composed.
        given: its config with paths as they were given, which are resolved in the pods.
        overrides: that it was composed from.

    Raises:
        ConfigError: it cannot run as a RayJob.
    """
    kube = given.cluster.kube
    assert kube is not None
    said, pods = annotations(experiment.name, _folder(experiment, given, kube), _job_of(given)), pods_of(experiment)
    name = name_of(said, KUBE_NAME if kube.schedule is None else KUBE_CRON_NAME)
    given = replace(given, cluster=_cluster_there(given, kube, pods))
    spec = _spec(given, kube, name, pods, entrypoint(overrides_for_pods(given, overrides)))
    metadata = {
        "name": name,
        "namespace": kube.namespace,
        "labels": _labels(name) | _scheduler_labels(kube, name),
        "annotations": said | _annotations(kube, pods),
    }
    if kube.schedule is None:
        return {"apiVersion": GROUP, "kind": "RayJob", "metadata": metadata, "spec": spec}
    # KubeRay gives the RayJobs that it makes of this no annotation of ours, but all of the spec.
    spec["submitterPodTemplate"]["metadata"]["annotations"] = said
    cron = {"schedule": kube.schedule, "timeZone": kube.time_zone, "jobTemplate": spec}
    return {"apiVersion": GROUP, "kind": "RayCronJob", "metadata": metadata, "spec": cron}


def _cluster_there(config: Config, kube: KubeConfig, pods: Pods) -> ClusterConfig:
    """The section `cluster` of the command in the pods, which waits for the workers that the manifest asks for: a head
    that was replaced is there before them. Where pods are scaled it has as many lanes as fit into the most pods, of
    which Ray does not tell the launcher. Packing needs no GPU."""
    promised = pods.most and (config.cluster.expected_workers or pods.least * kube.workers_per_pod)
    cluster = replace(config.cluster, gpus_per_worker=gpus_of(config), expected_workers=promised)
    if not pods.are_scaled:
        return cluster
    fit = max(1, pods.most * kube.workers_per_pod // cluster.max_workers)
    return replace(cluster, autoscaled=True, lanes=cluster.lanes or fit)


def gpus_of(config: Config) -> int:
    """Number of GPUs of each worker."""
    return 0 if config.job in ("pack", *WITHOUT_WORKERS) else config.cluster.gpus_per_worker or 0


def _job_of(config: Config) -> str:
    """The job that is meant: a check is that of the sweep where there is one, as `jobs.check` takes it."""
    return "sweep" if config.job == "check" and config.sweep.space else config.job


def attempts_of(config: Config, kube: KubeConfig) -> int:
    """How many clusters there are at most, one after another. One for what only asks MLflow: the next would find it
    away as well."""
    return 1 if config.job in WITHOUT_WORKERS else 1 + kube.retries


def _folder(experiment: Experiment, given: Config, kube: KubeConfig) -> str:
    """The experiment's folder as its annotation names it: CLAIM:PATH on the volume, or a URL."""
    if is_remote(given.output_dir):
        return f"{given.output_dir.rstrip('/')}/{experiment.name}"
    inside = posixpath.relpath(kube.in_pods(given.output_dir, experiment.name), kube.mount)
    return f"{kube.claim}:{inside}"


def pods_of(experiment: Experiment) -> Pods:
    """The number of worker pods: `cluster.kube.pods`, or what the members need to train side by side.

    Raises:
        ConfigError: the workers of one member do not fit, or a sweep does not tell how many trials run side by side.
    """
    cluster, kube = experiment.config.cluster, experiment.config.cluster.kube
    assert kube is not None
    if experiment.config.job in WITHOUT_WORKERS:
        return Pods(0, 0)
    if kube.pods_range is not None:
        pods = Pods(*kube.pods_range)
    else:
        most = math.ceil(_lanes(experiment) * cluster.max_workers / kube.workers_per_pod)
        is_range = cluster.min_workers < cluster.max_workers
        pods = Pods(math.ceil(cluster.min_workers / kube.workers_per_pod) if is_range else most, most)
    room = pods.most * kube.workers_per_pod
    require(
        cluster.min_workers <= room,
        f"cluster.kube.pods is {kube.pods}, room for {room} workers, and cluster.workers wants {cluster.workers_text}; "
        "raise cluster.kube.pods or cluster.kube.workers_per_pod",
    )
    return pods


def _lanes(experiment: Experiment) -> int:
    config = experiment.config
    if config.cluster.lanes:
        return config.cluster.lanes
    if _job_of(config) == "sweep":
        raise ConfigError(
            "a sweep takes as many pods as it gets; say how many: cluster.kube.pods=8, or "
            "cluster.lanes=8 for so many trials side by side"
        )
    fused = 1 if _job_of(config) == "evaluate" else config.cluster.fused
    return len(teams(experiment.members, fused))


def _spec(config: Config, kube: KubeConfig, name: str, pods: Pods, command: str) -> dict[str, Any]:
    return {
        "submissionMode": "K8sJobMode",
        "entrypoint": command,
        "backoffLimit": attempts_of(config, kube) - 1,
        "activeDeadlineSeconds": math.ceil(steps_of(kube.deadline_h, 3600)),
        **_ending(kube),
        "submitterConfig": {"backoffLimit": SUBMITTER_RETRIES},
        "submitterPodTemplate": submitter(kube, _labels(name)),
        "rayClusterSpec": _cluster(config, kube, name, pods),
    }


def _ending(kube: KubeConfig) -> dict[str, Any]:
    """When cluster and RayJob are deleted. Kueue suspends jobs, which the operator allows only with older settings."""
    after_failure = max(LAST_LINES_S, kube.keep_failed_s)
    if kube.queue is not None:
        return {"suspend": True, "shutdownAfterJobFinishes": True, "ttlSecondsAfterFinished": after_failure}
    ends = [({"jobStatus": "SUCCEEDED"}, LAST_LINES_S), ({"jobDeploymentStatus": "Failed"}, after_failure)]
    keep = max(after_failure, round(kube.keep_days * 86400))
    rules = [
        {"policy": policy, "condition": condition | {"ttlSeconds": seconds}}
        for condition, cluster_s in ends
        for policy, seconds in (("DeleteCluster", cluster_s), ("DeleteSelf", keep))
    ]
    return {"preRunningDeadlineSeconds": kube.start_timeout_s, "deletionStrategy": {"deletionRules": rules}}


def _cluster(config: Config, kube: KubeConfig, name: str, pods: Pods) -> dict[str, Any]:
    labels, cached = _labels(name), needs_cache(config)
    cluster: dict[str, Any] = {
        "rayVersion": importlib.metadata.version("ray"),
        "authOptions": {"mode": "token"},
        "headGroupSpec": {
            "rayStartParams": {"num-cpus": "0", "num-gpus": "0", "dashboard-host": "0.0.0.0"}
            | _object_store(head_shared_gb(kube)),
            "template": head(config, kube, labels, scales=pods.are_scaled, cached=cached),
        },
    }
    if pods.most:
        cluster["workerGroupSpecs"] = [
            {
                "groupName": "workers",
                "replicas": pods.least,
                "minReplicas": pods.least,
                "maxReplicas": pods.most,
                "rayStartParams": _object_store(kube.shared_memory_gb) | _parts_of_gpus(config, kube),
                "template": worker(config, kube, labels, topology=_topology(config, kube, pods), cached=cached),
            }
        ]
    if pods.are_scaled:
        cluster["enableInTreeAutoscaling"] = True
        cluster["autoscalerOptions"] = autoscaler(kube)
    if kube.redis_address is not None:
        cluster["gcsFaultToleranceOptions"] = {
            "redisAddress": kube.redis_address,
            "redisPassword": {"valueFrom": {"secretKeyRef": {"name": kube.redis_secret, "key": "password"}}},
        }
    return cluster


def _parts_of_gpus(config: Config, kube: KubeConfig) -> dict[str, str]:
    """The operator counts limits whose names end in "gpu" for Ray: not nvidia.com/mig-1g.10gb."""
    gpus = (config.cluster.gpus_per_worker or 0) * kube.workers_per_pod
    return {} if kube.gpu_resource.endswith("gpu") or not gpus else {"num-gpus": str(gpus)}


def _topology(config: Config, kube: KubeConfig, pods: Pods) -> dict[str, str]:
    """What Kueue reads of worker pods to choose near nodes, where gradients leave a pod; not of jobs that scale.

    One member must fit within the level; several prefer it: which pods a member gets is Ray's choice.
    """
    spans = config.cluster.max_workers > kube.workers_per_pod
    if kube.queue is None or kube.topology_key is None or not spans or pods.are_scaled:
        return {}
    alone = pods.most == math.ceil(config.cluster.max_workers / kube.workers_per_pod)
    return {f"kueue.x-k8s.io/podset-{'required' if alone else 'preferred'}-topology": kube.topology_key}


def _object_store(shared_gb: int) -> dict[str, str]:
    """Half of the shared memory for Ray, the other half for NCCL; by default Ray takes more than there is."""
    return {"object-store-memory": str(shared_gb * 2**30 // 2)}


def _labels(name: str) -> dict[str, str]:
    """The labels by which Services, network policies and people find the pods of a job."""
    return {"app.kubernetes.io/part-of": "platform", "app.kubernetes.io/instance": name}


def _scheduler_labels(kube: KubeConfig, name: str) -> dict[str, str]:
    """Labels that Kueue reads, or that the operator passes to its batch scheduler."""
    queue = {"kueue.x-k8s.io/queue-name": kube.queue, "kueue.x-k8s.io/priority-class": kube.queue_priority}
    gangs: dict[str, dict[str, str | None]] = {
        "none": queue,
        "volcano": {
            "ray.io/scheduler-name": "volcano",
            "volcano.sh/queue-name": kube.gang_queue,
            "ray.io/priority-class-name": kube.priority_class,
        },
        "yunikorn": {
            "ray.io/gang-scheduling-enabled": "true",
            "yunikorn.apache.org/app-id": name,
            "yunikorn.apache.org/queue": kube.gang_queue,
        },
        "kai-scheduler": {"kai.scheduler/queue": kube.gang_queue},
        "scheduler-plugins": {"ray.io/gang-scheduling-enabled": "true"},
    }
    return {key: value for key, value in gangs[kube.gang].items() if value is not None}


def _annotations(kube: KubeConfig, pods: Pods) -> dict[str, str]:
    """Kueue takes jobs that scale only if they say so (and with its gate ElasticJobsViaWorkloadSlices)."""
    return {"kueue.x-k8s.io/elastic-job": "true"} if kube.queue is not None and pods.are_scaled else {}
