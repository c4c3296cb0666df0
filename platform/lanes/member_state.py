"""What is written of a member: its starts and which of them count, why one failed, and how it ended.

In: the state on disk, and what the workers told the mailbox. Out: rank 0 writes the state; every worker acts alike.
"""

import errno
import time

import ray
import torch.distributed as dist

from platform.cluster.nodes import lost_nodes
from platform.config.checks import ConfigError
from platform.data.cache import ShardError
from platform.data.store_errors import StorageError
from platform.experiment.goodput import read_attempts
from platform.experiment.member_folder import FAILED, FINISHED, MemberFolder, MemberState
from platform.lanes.lane import LaneMember
from platform.lanes.mailbox import Failure, Sender, cause_of
from platform.marks import mark
from platform.training.checkpoints import CheckpointError, newest_step
from platform.training.memory import OutOfMemory
from platform.training.meter import NonFiniteLoss
from platform.training.peers import barrier, from_rank_0
from platform.training.worker import Worker

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
FATAL_WAITS_S = 30.0
TRAINED = 10**15  # further than any step
EXCUSED = 20  # starts in a row


def begin_start(member: LaneMember, folder: MemberFolder, worker: Worker, sender: Sender) -> MemberState | None:
    """Count this start of a member.

    Args:
        member: which one.
        folder: the member's.
        worker: this one; every worker of the lane calls this.
        sender: to the mailbox, which knows what ended the start before.

    Returns:
        the state with this start counted, as rank 0 has it, so that all do the same; None: the member is over.
    """
    nodes = [ray.get_runtime_context().get_node_id()] * worker.world
    if worker.world > 1:
        dist.all_gather_object(nodes, nodes[0])
    return from_rank_0(worker, lambda: _started(member, folder, sorted(set(nodes)), worker.world, sender))


def _started(
    member: LaneMember, folder: MemberFolder, nodes: list[str], workers: int, sender: Sender
) -> MemberState | None:
    """Runs on rank 0, which alone writes the state: what its peers met in the start before is in the mailbox."""
    state, failures = folder.state(), sender.take_failures()
    wanted = member.config.evaluation
    if folder.is_finished(max(wanted.views), wanted.split) or state.state == FAILED:
        return None
    if failures:
        cause = cause_of(failures)
        state.error = cause.text
        if cause.final:
            state.state = FAILED
            record(folder, state, sender)
            return None
    count_start(folder, state, nodes, workers)
    return state


def count_start(folder: MemberFolder, state: MemberState, nodes: list[str], workers: int) -> None:
    """Count a start in `state`, or excuse it.

    Starts that got a checkpoint further are not held against a member; nor are those after a node was taken away and
    those with another number of workers, as long as a checkpoint further comes within `EXCUSED` of them: a cluster that
    shrinks and grows for ever would hide that nothing is trained.

    Args:
        folder: the member's, with its checkpoints.
        state: of the start before; is changed.
        nodes: Ray's ids of those that the workers are on now.
        workers: how many there are now.
    """
    reached = TRAINED if folder.is_trained() else newest_step(folder.checkpoints)
    excusable = workers != state.workers or bool(lost_nodes(state.nodes))
    if reached > state.reached:
        state.starts, state.excused = 1, 0
    elif excusable and state.excused < EXCUSED:
        state.starts, state.excused = max(state.starts, 1), state.excused + 1
    else:
        state.starts += 1
    state.reached, state.nodes, state.workers = max(reached, state.reached), nodes, workers


def excuse(folder: MemberFolder, state: MemberState, worker: Worker, sender: Sender) -> None:
    """Count a start no more: another member, trained together with this one, has ended it.

    Raises:
        OSError: the disk does not take it.
    """
    state.starts = max(state.starts - 1, 0)
    if worker.rank == 0:
        record(folder, state, sender)


def given_up(member: LaneMember, state: MemberState) -> str:
    """Why no further start is tried, with what ended the last one."""
    attempts = read_attempts(member.folder)
    reason = state.error or (attempts[-1].reason if attempts else "") or "its workers died"
    more = f" and {state.excused} after nodes or workers came or went" if state.excused else ""
    return f"given up after {state.starts - 1} starts{more} that got no further; the last: {reason}"


def is_final(error: Exception, worker: Worker) -> bool:
    """Whether the error would come again at every start."""
    cause = error.__cause__ if isinstance(error, StorageError | ShardError) else error
    full = isinstance(cause, OSError) and cause.errno in FULL
    bad_shard = isinstance(error, ShardError) and worker.world == 1
    return full or bad_shard or isinstance(error, ConfigError | NonFiniteLoss | OutOfMemory | CheckpointError)


def tell_failure(folder: MemberFolder, state: MemberState, worker: Worker, sender: Sender, *, of_a_peer: bool) -> None:
    """Tell the mailbox why this worker fails, which the others cannot know.

    Rank 0 also writes what the cause is, as far as it is known then.

    Args:
        folder: the member's.
        state: with the error; FAILED where that is final.
        worker: this one.
        sender: to the mailbox.
        of_a_peer: whether the error only says that another worker is gone.
    """
    own = Failure(sender.member, worker.rank, state.error, final=state.state == FAILED, of_a_peer=of_a_peer)
    told = sender.failed(own)
    if own.final and own == cause_of(told):
        sender.send("ended", text=f"{FAILED}: {own.text}")
    if worker.rank == 0:
        cause = cause_of(told)
        state.error, state.state = cause.text, FAILED if cause.final else state.state
        record(folder, state, sender)


def record(folder: MemberFolder, state: MemberState, sender: Sender) -> None:
    """Write the state; where that cannot be, no start could be counted, and the launcher ends the run.

    Raises:
        OSError: the disk does not take it; the launcher has been told.
    """
    try:
        folder.set_state(state)
    except OSError as error:
        said = f" ({state.error})" if state.error else ""
        sender.send("fatal", text=f"{folder.path}: {error.strerror or error}{said}; make room there")
        time.sleep(FATAL_WAITS_S)  # for the launcher to end this process
        raise


def leave(folder: MemberFolder, state: MemberState, worker: Worker, sender: Sender) -> None:
    """Write how the member ended and tell it, once every worker has come here."""
    barrier(worker)
    if worker.rank == 0:
        state.times["ended"] = time.time()
        mark("member has ended")
        record(folder, state, sender)
        sender.send("ended", text=state.state if state.state == FINISHED else f"{state.state}: {state.error}")
    barrier(worker)
