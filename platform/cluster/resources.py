"""CPUs and GPUs, and how many workers and lanes of members fit into a cluster. Pure arithmetic, without Ray.

In: the section `cluster` and what the cluster has. Out: numbers.
"""

import os
from dataclasses import dataclass

from platform.config.checks import ConfigError
from platform.config.cluster import ClusterConfig


@dataclass(frozen=True)
class Resources:
    """What a cluster has."""

    nodes: int
    cpus: int
    gpus: int


def cpus_here() -> int:
    """Number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus_here() -> int:
    """Number of GPUs of this machine that this process may use, by NVML; parts of them (MIG) do not count apart."""
    import pynvml  # where there is no driver it raises

    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return 0
    try:
        pynvml.nvmlInit()
        return pynvml.nvmlDeviceGetCount()
    except pynvml.NVMLError:
        return 0


def may_have_gpu(cluster: ClusterConfig) -> bool:
    """Whether workers may have a GPU, as far as that is known before they start: what another cluster has is not."""
    on_this_machine = cluster.address is None and cluster.kube is None
    return cluster.gpus_per_worker != 0 and (not on_this_machine or gpus_here() > 0)


def require_fit_here(cluster: ClusterConfig) -> None:
    """Refuse workers that this machine has no place for, before its Ray says so. Parts of GPUs are left to Ray.

    Raises:
        ConfigError: not even one of the fewest workers fits.
    """
    gpus = gpus_here()
    wanted = cluster.min_workers * (cluster.gpus_per_worker or 0)
    lane_count(cluster, Resources(1, cpus_here(), max(gpus, wanted) if gpus else 0), members=1)


def gpus_per_worker(cluster: ClusterConfig, resources: Resources) -> int:
    """Number of GPUs that each worker gets.

    Raises:
        ConfigError: there are GPUs, but not one for each of the fewest workers.
    """
    if cluster.gpus_per_worker is None:
        if 0 < resources.gpus < cluster.min_workers and not cluster.autoscaled:
            raise ConfigError(
                f"cluster.workers is {cluster.workers_text}, the cluster has {resources.gpus} GPU(s); "
                "lower it, or set cluster.gpus_per_worker=0 to train on CPU"
            )
        return 1 if resources.gpus else 0
    return cluster.gpus_per_worker


def room(cluster: ClusterConfig, resources: Resources, gpus: int) -> int:
    """Number of workers, of so many GPUs each, that fit into what the cluster has."""
    fits = resources.cpus // cluster.cpus_per_worker
    return min(fits, resources.gpus // gpus) if gpus else fits


def lane_count(cluster: ClusterConfig, resources: Resources, members: int) -> int:
    """Number of worker groups that run side by side, at most one for each member.

    Groups have the most workers of `cluster.workers`. If not even one such group fits, there is a single smaller one:
    Ray Train gives the first group all there is, and others would wait for its end. With an autoscaler the lanes come
    first, and it adds nodes for them.

    Raises:
        ConfigError: not even one of the fewest workers fits.
    """
    if cluster.autoscaled:
        return min(members, cluster.lanes or members)
    gpus = gpus_per_worker(cluster, resources)
    fits = room(cluster, resources, gpus)
    if fits < cluster.min_workers:
        raise ConfigError(
            f"{cluster.min_workers} worker(s) of {cluster.cpus_per_worker} CPU(s) and {gpus} GPU(s) do not fit into "
            f"{resources.cpus} CPU(s) and {resources.gpus} GPU(s); "
            "lower cluster.workers, cluster.cpus_per_worker or cluster.gpus_per_worker"
        )
    return min(members, max(1, fits // cluster.max_workers), cluster.lanes or members)


def more_lanes(cluster: ClusterConfig, resources: Resources, running: int, waiting: int) -> int:
    """Number of worker groups to add to those that run, of a cluster that has become larger.

    Args:
        cluster: the section of the config, with its `gpus_per_worker`.
        resources: what the cluster has now.
        running: worker groups under way.
        waiting: members that none of them has begun, or is about to.
    """
    if waiting <= 0 or room(cluster, resources, cluster.gpus_per_worker or 0) < cluster.min_workers:
        return 0
    return min(max(lane_count(cluster, resources, running + waiting) - running, 0), waiting)


def deal(costs: dict[str, float], lanes: int) -> list[list[str]]:
    """Deal members to lanes, so that lanes end at about the same time: the costliest first, each to the emptiest lane.

    Args:
        costs: member -> relative work.
        lanes: number of lanes.

    Returns:
        names of the members of each lane.
    """
    loads = [0.0] * lanes
    dealt: list[list[str]] = [[] for _ in range(lanes)]
    for name in sorted(costs, key=lambda name: -costs[name]):
        lane = loads.index(min(loads))
        loads[lane] += costs[name]
        dealt[lane].append(name)
    return dealt
