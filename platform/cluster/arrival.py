"""Waiting for nodes that come after the head: a head that was replaced is there before its workers have found it.

In: the section `cluster`, and what the cluster has now. Out: what it has when all that is expected is there, or the
time for that is over; a line for each change.
"""

import time
from collections.abc import Callable

from platform.cluster.resources import Resources, room
from platform.config.checks import CannotGoOn
from platform.config.cluster import ClusterConfig
from platform.console import duration

LOOK_EVERY_S = 1.0


def expected(cluster: ClusterConfig, resources_now: Callable[[], Resources]) -> Resources:
    """Wait until there is room for `cluster.expected_workers`, `cluster.expected_within_s` at most.

    Args:
        cluster: the section of the config.
        resources_now: tells what the cluster has.

    Returns:
        what it has then.

    Raises:
        CannotGoOn: the time is over, and not even one of the fewest workers fits.
    """
    wanted, gpus = cluster.expected_workers, cluster.gpus_per_worker or 0
    since, said = time.monotonic(), -1
    while (there := room(cluster, resources := resources_now(), gpus)) < wanted:
        if time.monotonic() - since >= cluster.expected_within_s:
            return _with_what_is_there(cluster, resources, there)
        if there != said:
            left = max(cluster.expected_within_s - (time.monotonic() - since), 0)
            print(f"{_said(cluster, resources, there)}; waiting up to {duration(left)} for the others", flush=True)
            said = there
        time.sleep(LOOK_EVERY_S)
    if said >= 0:
        print(f"all {wanted} expected worker(s) have room now, on {resources.nodes} node(s)", flush=True)
    return resources


def _with_what_is_there(cluster: ClusterConfig, resources: Resources, there: int) -> Resources:
    said = f"{_said(cluster, resources, there)} after {duration(cluster.expected_within_s)}"
    if there < cluster.min_workers and not cluster.autoscaled:
        raise CannotGoOn(
            f"{said}, and a member needs {cluster.min_workers}; see why the nodes do not come, "
            "or raise cluster.expected_within_s"
        )
    print(f"{said}; going on with what is there", flush=True)
    return resources


def _said(cluster: ClusterConfig, resources: Resources, there: int) -> str:
    return (
        f"room for {there} of {cluster.expected_workers} expected worker(s) "
        f"({resources.nodes} node(s), {resources.cpus} CPUs, {resources.gpus} GPUs)"
    )
