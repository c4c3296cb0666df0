"""Waiting for the other workers of a group, however long they work.

A collective waits as long as its process group lets it (`cluster.stall_timeout_s`), and who waits in one looks as if it
had stalled. Where workers have unequal work they meet here first. While a worker has a heartbeat, one that stalls is
ended by its own, and Ray Train ends a group that has lost a worker: so the wait needs no limit of its own then.
"""

import itertools
import time
from collections.abc import Callable
from typing import TypeVar

import torch.distributed as dist

from platform.training.worker import Worker

LOOK_EVERY_S = 0.05
T = TypeVar("T")
_numbers = itertools.count()  # of meetings; every worker of a group comes to the same ones, in the same order


def meet(worker: Worker, waiting: Callable[[], None] | None = None) -> None:
    """Return when every worker has come here. A collective must follow: rank 0 holds the store that they meet in.

    Args:
        worker: this one.
        waiting: is called again and again meanwhile. Without it nobody watches: the wait has the limit of the store.

    Raises:
        RuntimeError: not all have come within that limit.
    """
    if worker.world == 1:
        return
    store, key = dist.distributed_c10d._get_default_store(), f"platform/meeting-{next(_numbers)}"
    come, since = store.add(key, 1), time.monotonic()
    limit_s = store.timeout.total_seconds()  # pyright: ignore[reportAttributeAccessIssue]
    while come < worker.world:
        if waiting:
            waiting()
        elif time.monotonic() - since > limit_s:
            raise RuntimeError(
                f"{come} of {worker.world} workers are here after {limit_s:g} s; the others have stalled"
            )
        time.sleep(LOOK_EVERY_S)
        come = store.add(key, 0)


def barrier(worker: Worker, waiting: Callable[[], None] | None = None) -> None:
    """Return when every worker has come here, though some have more images to evaluate, or a slower disk.

    Args:
        worker: this one.
        waiting: is called again and again meanwhile; without it the wait has the limit of the store.
    """
    meet(worker, waiting)
    if worker.world > 1:
        dist.barrier()


def from_rank_0(worker: Worker, decide: Callable[[], T], waiting: Callable[[], None] | None = None) -> T:
    """What rank 0 decides or reads, the same for every worker: a file that is new to one may not be there
    for another yet, and clocks differ.

    Args:
        worker: this one.
        decide: is called on rank 0 only; what it gives is sent by pickle. The others wait as long as it needs.
        waiting: is called again and again by those that wait; without it the wait has the limit of the store.
    """
    found: list[T | None] = [decide() if worker.rank == 0 else None]
    meet(worker, waiting)
    if worker.world > 1:
        dist.broadcast_object_list(found, src=0, device=worker.device)
    return found[0]  # pyright: ignore[reportReturnType]
