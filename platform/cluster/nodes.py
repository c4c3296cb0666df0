"""Nodes that are lost, and what worker groups hold."""

import contextlib
from collections.abc import Iterable

import ray
from ray.exceptions import RayError
from ray.util.placement_group import remove_placement_group

from platform.cluster.ray_internals import draining_nodes, placement_group


def release(placement_groups: Iterable[str]) -> None:
    """Give back what worker groups hold whose lane was ended from outside; workers that still live end. Ray itself
    holds it until the launcher ends, or needs its dashboard to see that the lane is gone."""
    for group in placement_groups:
        with contextlib.suppress(RayError, ValueError):
            remove_placement_group(placement_group(group))


def lost_nodes(node_ids: Iterable[str]) -> list[str]:
    """Those of Ray's node ids that are not in the cluster any more, or about to leave it."""
    alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
    leaving = draining_nodes()
    return [node for node in node_ids if node not in alive or node in leaving]
