"""Lost nodes, and the resources that worker groups hold.

In: Ray's ids. Out: the nodes that are gone or about to go; placement groups are removed.
"""

import contextlib
import threading
import time
from collections.abc import Iterable

import ray
from ray.exceptions import RayError
from ray.util.placement_group import PlacementGroup, placement_group_table, remove_placement_group

from platform.cluster.ray_internals import draining_nodes, placement_group

LOOK_EVERY_S = 1.0


def release(placement_groups: Iterable[str]) -> None:
    """Remove the placement groups (ids in hex) of worker groups whose lane was ended from outside; their workers end.

    Ray itself would hold them until the launcher ends, or needs its dashboard to see that the lane is gone.
    """
    for group in placement_groups:
        with contextlib.suppress(RayError, ValueError):
            remove_placement_group(placement_group(group))


def held_s(reserved: PlacementGroup, since_asked_s: float) -> float:
    """For how long workers that have just started have held their resources, in seconds: all but the time for which Ray
    waited for room, which it notes; 0 where it has not.

    Args:
        reserved: their placement group.
        since_asked_s: time since Ray was asked for it.
    """
    waited_s = 0.0
    with contextlib.suppress(Exception):
        waited_s = placement_group_table(reserved)["stats"]["end_to_end_creation_latency_ms"] / 1000
    return max(since_asked_s - waited_s, 0.0) if waited_s else 0.0


def has_room(reserved: PlacementGroup) -> bool:
    """Whether Ray has found room for a placement group, or does not tell."""
    with contextlib.suppress(Exception):
        return placement_group_table(reserved)["state"] == "CREATED"
    return True


class Departures:
    """The nodes that are about to leave the cluster. However many threads look, Ray is asked once a second."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._looked_at, self._deadlines_ms = -LOOK_EVERY_S, dict[str, int]()

    def deadline_ms(self, node_id: str) -> int | None:
        """When a node leaves, in milliseconds since the epoch; 0: it is not known; None: it stays."""
        with self._lock:
            now = time.monotonic()
            if now - self._looked_at >= LOOK_EVERY_S:
                self._looked_at = now
                with contextlib.suppress(Exception):  # a head that does not answer now
                    self._deadlines_ms = draining_nodes()
            return self._deadlines_ms.get(node_id)


def lost_nodes(node_ids: Iterable[str]) -> list[str]:
    """Those of Ray's node ids that are no longer in the cluster, or about to leave it."""
    alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
    leaving = draining_nodes()
    return [node for node in node_ids if node not in alive or node in leaving]
