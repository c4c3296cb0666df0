"""The worker's side of a lane: its workers take the members one after another in warm processes, or several of them
together.

Starting workers costs more than a short member, so a lane keeps its processes from member to member.
"""

import contextlib
import functools
import gc
import logging
import os
import resource
from collections.abc import Callable, Sequence

import ray
import torch
from ray.exceptions import ActorUnavailableError, GetTimeoutError

from platform.cluster.fork_server.client import FORKED, STATE
from platform.config.checks import ConfigError
from platform.config.sections import Config
from platform.data.index import Index
from platform.data.sets import read_sets
from platform.experiment.fingerprint import fingerprint
from platform.experiment.run_logs import keep_worker_log, noting_errors
from platform.lanes.lane import Lane, LaneMember
from platform.lanes.mailbox import ANSWER_S, Sender, take_secrets
from platform.lanes.member import run_member
from platform.lanes.shared_index import require_unchanged
from platform.marks import mark
from platform.training.fused.group import Group
from platform.training.peers import from_rank_0
from platform.training.worker import Worker

log = logging.getLogger("platform")
CLAIM_TRIES = 6  # of ANSWER_S each


def run_lane(
    lane: Lane,
    rank: int,
    world: int,
    device: torch.device,
    preempted: Callable[[], bool],
    group: Group | None = None,
) -> None:
    """Run the lane's members as one of its workers: settle the process, read the index, then team after team.

    Args:
        lane: what is to be done.
        rank, world: which of how many.
        device: the worker's.
        preempted: whether a node of the lane is about to be taken away.
        group: that its members come to one by one, in a thread of this call; None: there is none.
    """
    config = lane.members[0].config
    mark("worker is there")
    torch.set_num_threads(config.cluster.cpus_per_worker)
    if device.type == "cuda":
        torch.cuda.set_device(device)  # else whatever names none makes a context on the node's first GPU
    worker = Worker(rank, world, device, threads=config.loader.threads or config.cluster.cpus_per_worker)
    _allow_many_open_shards()
    _freeze_imported()
    take_secrets(lane.mailbox)
    _tell_if_unforked(Sender(lane.mailbox, lane.members[0].name))
    index = functools.cache(lambda: _same_index(_index(lane, config), worker))
    keep_worker_log(lane.members[0].folder.parents[1], lane.number, rank)
    with noting_errors():
        for team in lane.teams:
            if not _is_ours(team[0].name, lane, worker):
                continue
            if len(team) > 1:
                run_together(team, index, worker, lane, preempted)
            else:
                run_member(team[0], index, worker, lane, preempted, group)


def run_together(
    team: Sequence[LaneMember], index: Callable[[], Index], worker: Worker, lane: Lane, preempted: Callable[[], bool]
) -> None:
    """Run members side by side, each as if it were alone, with the steps of all computed together.

    Args:
        team: which; of one shape.
        index, worker, lane, preempted: as `run_member` takes them.

    Raises:
        Exception: whatever one of them raises; the others end with it, and go on where they were at the next start.
    """
    group = Group(worker.device)
    group.run({each.name: functools.partial(run_member, each, index, worker, lane, preempted, group) for each in team})


def _allow_many_open_shards() -> None:
    """Each takes a file descriptor; the usual soft limit of 1024 is a convention of the 1980s."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@functools.cache  # once a process: of a second trial's start, what the first one left would be kept for ever
def _freeze_imported() -> None:
    """torch's and Ray's half a million objects: the collector need not walk them at every few images."""
    gc.collect()
    gc.freeze()


def _tell_if_unforked(sender: Sender) -> None:
    """Once a process: it works the same, but somebody may wonder why it took so long."""
    how = os.environ.pop(STATE, FORKED)
    if how != FORKED:
        sender.send("unforked", text=how)


def _is_ours(member: str, lane: Lane, worker: Worker) -> bool:
    """Whether this lane trains the member, the first of its team, and not one that came later."""
    if not lane.shared:
        return True
    return from_rank_0(worker, lambda: _claim(member, lane))  # by rank 0 alone: another lane may ask meanwhile


def _claim(member: str, lane: Lane) -> bool:
    """Ask the mailbox, again where it does not answer: the head may be busy for a while, and a lane's claim stays its.

    Raises:
        RayError: the mailbox is gone, or does not answer for a minute.
    """
    for _ in range(CLAIM_TRIES - 1):
        with contextlib.suppress(GetTimeoutError, ActorUnavailableError):
            return bool(ray.get(lane.mailbox.claim.remote(member, lane.number), timeout=ANSWER_S))
        log.warning("the launcher's node does not answer the claim of %s by lane %d; asking again", member, lane.number)
    return bool(ray.get(lane.mailbox.claim.remote(member, lane.number), timeout=ANSWER_S))


def _index(lane: Lane, config: Config) -> Index:
    """The launcher's, or where it gave none what is at `data.shards` now."""
    if lane.index:
        return lane.index.taken(config.data, config.storage)
    return read_sets(config.data, config.storage, ask_all=False)


def _same_index(index: Index, worker: Worker) -> Index:
    """Workers that read different ones, of shards that are being replaced, would wait for each other's batches. One of
    them asks whether they are still those that the launcher has checked.

    Raises:
        ConfigError: they are not.
    """
    own = fingerprint(index)
    first, refused = from_rank_0(worker, lambda: (own, _refusal(index)))
    if own != first:
        raise RuntimeError(f"rank {worker.rank} on {worker.node} reads other shards ({own}) than rank 0 ({first})")
    if refused:
        raise ConfigError(refused)
    return index


def _refusal(index: Index) -> str:
    """Why rank 0 cannot go on with the shards, for all workers to say the same; "": it can."""
    try:
        require_unchanged(index)
    except ConfigError as error:
        return str(error)
    return ""
