"""Lost nodes, and the resources that worker groups hold.

In: Ray's ids. Out: the nodes that are gone; placement groups are removed.
"""

import contextlib
from collections.abc import Iterable

import ray
from ray.exceptions import RayError
from ray.util.placement_group import remove_placement_group

from platform.cluster.ray_internals import draining_nodes, placement_group


def release(placement_groups: Iterable[str]) -> None:
    """Remove the placement groups (ids in hex) of worker groups whose lane was ended from outside; their workers end.

    Ray itself would hold them until the launcher ends, or needs its dashboard to see that the lane is gone.
    """
    for group in placement_groups:
        with contextlib.suppress(RayError, ValueError):
            remove_placement_group(placement_group(group))


def lost_nodes(node_ids: Iterable[str]) -> list[str]:
    """Those of Ray's node ids that are no longer in the cluster, or about to leave it."""
    alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
    leaving = draining_nodes()
    return [node for node in node_ids if node not in alive or node in leaving]
