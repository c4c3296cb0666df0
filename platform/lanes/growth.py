"""Nodes that come while members or trials train: more of them side by side.

In: what the cluster has, looked at every `cluster.resize_check_s`. Out: lanes are added, and a line says so.
"""

import time
from collections.abc import Callable

from ray.exceptions import RayError

from platform.cluster.connect import resources_now
from platform.cluster.resources import Resources
from platform.config.cluster import ClusterConfig


class Growth:
    """Of one launch on a cluster that was joined; a Ray of this machine's own does not grow."""

    def __init__(self, grow: Callable[[Resources], int], cluster: ClusterConfig, say: Callable[[str], None]) -> None:
        """`grow` is given what the cluster has, and returns how many lanes it has added."""
        self._grow, self._say = grow, say
        self._can_grow, self._every_s = cluster.address is not None, cluster.resize_check_s
        self._looked_at = time.monotonic()

    def look(self) -> None:
        """Add what the cluster has room for now; does nothing if it was looked at a short while ago."""
        if not self._can_grow or time.monotonic() - self._looked_at < self._every_s:
            return
        self._looked_at = time.monotonic()
        try:
            resources = resources_now()
            more = self._grow(resources)
        except RayError:  # a head that is gone is the follower's concern
            return
        if more:
            self._say(
                f"{more} lane(s) more: the cluster has {resources.nodes} node(s), {resources.cpus} CPUs, "
                f"{resources.gpus} GPUs now"
            )
