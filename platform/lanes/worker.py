"""The worker's side of training: a Ray Train worker group takes its members one after another in warm processes.

Starting a worker group costs more than a short member, so a group (a lane) keeps its processes from member to member.
"""

import errno
import functools
import gc
import logging
import os
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch
import torch.distributed as dist
from torch import Tensor, nn

from platform.cluster.fork_server.client import FORKED, STATE
from platform.cluster.nodes import lost_nodes
from platform.config.checks import ConfigError
from platform.config.sections import Config
from platform.data.cache import ShardError
from platform.data.index import Index, read_index
from platform.data.order import evaluation_share
from platform.data.pixels import Pixels
from platform.data.storage import StorageError
from platform.evaluation import probabilities
from platform.evaluation.predict import PredictConfig, Predictions, predict
from platform.experiment.folder import FAILED, FINISHED, MemberFolder, MemberState, fingerprint
from platform.experiment.goodput import read_attempts
from platform.lanes.group_callback import lost_a_peer
from platform.lanes.heartbeat import Pulse, preemption_notice
from platform.lanes.mailbox import Failure, Sender, WarningForwarder, cause_of, take_secrets
from platform.models.build import build
from platform.text import first_line
from platform.training.checkpoints import CheckpointError, newest_step, save_whole
from platform.training.learning_curve import CurveWriter, EvaluationPoint
from platform.training.loop import train
from platform.training.memory import OutOfMemory
from platform.training.meter import NonFiniteLoss
from platform.training.peers import from_rank_0, meet
from platform.training.progress import TESTING, Progress
from platform.training.step import autocast_dtype
from platform.training.worker import Worker

log = logging.getLogger("platform")
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
FATAL_WAITS_S = 30.0
TRAINED = 10**15  # further than any step
EXCUSED = 20  # starts in a row


@dataclass(frozen=True)
class LaneMember:
    """One member of a lane."""

    name: str
    config: Config
    folder: Path
    copy_to: str | None  # folder or URL for copies of its checkpoints


@dataclass(frozen=True)
class Lane:
    """What every worker of a lane is given."""

    number: int
    members: list[LaneMember]
    mailbox: Any  # Ray's handle of a Mailbox
    judge: Callable[[str, EvaluationPoint], None] | None = None  # (member, its newest scores): may end the training


def train_lane(lane: Lane) -> None:
    """Train and evaluate the lane's members; runs on each of its workers."""
    context = ray.train.get_context()
    device = ray.train.torch.get_device()
    run_lane(lane, context.get_world_rank(), context.get_world_size(), device, preemption_notice())


def run_lane(lane: Lane, rank: int, world: int, device: torch.device, preempted: Callable[[], bool]) -> None:
    """Run the lane's members as one of its workers.

    Args:
        lane: what is to be done.
        rank, world: which of how many.
        device: the worker's.
        preempted: whether a node of the lane is about to be taken away.
    """
    config = lane.members[0].config
    torch.set_num_threads(config.cluster.cpus_per_worker)
    if device.type == "cuda":
        torch.cuda.set_device(device)  # else whatever names none makes a context on the node's first GPU
    worker = Worker(rank, world, device, threads=config.loader.threads or config.cluster.cpus_per_worker)
    _allow_many_open_shards()
    _freeze_imported()
    take_secrets(lane.mailbox)
    _tell_if_unforked(Sender(lane.mailbox, lane.members[0].name))
    index = functools.cache(lambda: _same_index(read_index(config.data.shards, config.storage, ask_all=False), worker))
    for member in lane.members:
        run_member(member, index, worker, lane, preempted)


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


def _same_index(index: Index, worker: Worker) -> Index:
    """Workers that read different ones, of shards that are being replaced, would wait for each other's batches."""
    own = fingerprint(index)
    if own != (first := from_rank_0(worker, lambda: own)):
        raise RuntimeError(f"rank {worker.rank} on {worker.node} reads other shards ({own}) than rank 0 ({first})")
    return index


def run_member(
    member: LaneMember, index: Callable[[], Index], worker: Worker, lane: Lane, preempted: Callable[[], bool]
) -> None:
    """One member from wherever it stands to its evaluated end. What would come again at every start (a loss that is not
    finite, bad shards, a full disk) is recorded, and the lane goes on; any other failure ends the worker group, which
    Ray Train starts again in fresh processes, until `training.max_attempts` starts in a row got no further."""
    folder, sender = MemberFolder(member.folder), Sender(lane.mailbox, member.name)
    state = _start_of(member, folder, worker, sender)
    if state is None:
        return
    if state.starts > member.config.training.max_attempts:
        state.state, state.error = FAILED, _given_up(member, state)
        _leave(folder, state, worker, sender)
        return
    state.error, state.times = "", {"started": time.time()}
    if worker.rank == 0:
        _record(folder, state, sender)
    progress = Progress()
    forwarder = WarningForwarder(sender)
    log.addHandler(forwarder)
    try:
        with Pulse(member.config, sender, worker, progress, lane.number, preempted):
            _train_and_evaluate(member, folder, index(), worker, sender, state.times, progress, lane.judge)
        state.state = FINISHED
    except Exception as error:
        state.error = f"{type(error).__name__}: {error}"
        state.state = FAILED if _is_final(error, worker) else state.state
        if not isinstance(error, NonFiniteLoss) and (state.state != FAILED or worker.world > 1):
            # The others cannot know: the group ends, and starts again with this member or, if that is final, the next.
            _tell_failure(folder, state, worker, sender, of_a_peer=lost_a_peer(error))
            raise
    finally:
        log.removeHandler(forwarder)
    _leave(folder, state, worker, sender)


def _start_of(member: LaneMember, folder: MemberFolder, worker: Worker, sender: Sender) -> MemberState | None:
    """The member's state with this start counted, as rank 0 has it, so that all do the same; None: it is over."""
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
            _record(folder, state, sender)
            return None
    count_start(folder, state, nodes, workers)
    return state


def count_start(folder: MemberFolder, state: MemberState, nodes: list[str], workers: int) -> None:
    """Starts that got a checkpoint further are not held against a member; nor are those after a node was taken away and
    those with another number of workers, as long as a checkpoint further comes within `EXCUSED` of them: a cluster that
    shrinks and grows for ever would hide that nothing is trained."""
    reached = TRAINED if folder.is_trained() else newest_step(folder.checkpoints)
    excusable = workers != state.workers or bool(lost_nodes(state.nodes))
    if reached > state.reached:
        state.starts, state.excused = 1, 0
    elif excusable and state.excused < EXCUSED:
        state.starts, state.excused = max(state.starts, 1), state.excused + 1
    else:
        state.starts += 1
    state.reached, state.nodes, state.workers = max(reached, state.reached), nodes, workers


def _tell_failure(folder: MemberFolder, state: MemberState, worker: Worker, sender: Sender, *, of_a_peer: bool) -> None:
    """Each worker tells the mailbox; rank 0 writes what the cause is as far as it is known then."""
    own = Failure(sender.member, worker.rank, state.error, final=state.state == FAILED, of_a_peer=of_a_peer)
    told = sender.failed(own)
    if own.final and own == cause_of(told):
        sender.send("ended", text=f"{FAILED}: {own.text}")
    if worker.rank == 0:
        cause = cause_of(told)
        state.error, state.state = cause.text, FAILED if cause.final else state.state
        _record(folder, state, sender)


def _given_up(member: LaneMember, state: MemberState) -> str:
    attempts = read_attempts(member.folder)
    reason = state.error or (attempts[-1].reason if attempts else "") or "its workers died"
    more = f" and {state.excused} after nodes or workers came or went" if state.excused else ""
    return f"given up after {state.starts - 1} starts{more} that got no further; the last: {reason}"


def _is_final(error: Exception, worker: Worker) -> bool:
    """Whether it would come again at every start."""
    cause = error.__cause__ if isinstance(error, StorageError | ShardError) else error
    full = isinstance(cause, OSError) and cause.errno in FULL
    bad_shard = isinstance(error, ShardError) and worker.world == 1
    return full or bad_shard or isinstance(error, ConfigError | NonFiniteLoss | OutOfMemory | CheckpointError)


def _record(folder: MemberFolder, state: MemberState, sender: Sender) -> None:
    """Write the state; where that cannot be, no start could be counted, and the launcher ends the run."""
    try:
        folder.set_state(state)
    except OSError as error:
        said = f" ({state.error})" if state.error else ""
        sender.send("fatal", text=f"{folder.path}: {error.strerror or error}{said}; make room there")
        time.sleep(FATAL_WAITS_S)  # for the launcher to end this process
        raise


def _leave(folder: MemberFolder, state: MemberState, worker: Worker, sender: Sender) -> None:
    _together(worker)
    if worker.rank == 0:
        state.times["ended"] = time.time()
        _record(folder, state, sender)
        sender.send("ended", text=state.state if state.state == FINISHED else f"{state.state}: {state.error}")
    _together(worker)


def _train_and_evaluate(
    member: LaneMember,
    folder: MemberFolder,
    index: Index,
    worker: Worker,
    sender: Sender,
    times: dict[str, float],
    progress: Progress,
    judge: Callable[[str, EvaluationPoint], None] | None,
) -> None:
    cfg = member.config
    curve = CurveWriter(folder.path)
    if worker.rank == 0:
        sender.send("state", text="starting")

    def report(step: int, metrics: dict[str, float]) -> None:
        times.setdefault("first_step", time.time())
        folder.keep_report(step, metrics)
        curve.take(step, metrics)
        sender.send("metrics", step=step, metrics=metrics)

    model = _trained(cfg, folder, worker, progress)
    if model is None:
        on_evaluation = functools.partial(_have_judged, judge, member.name, curve) if judge else None
        model = train(cfg, index, worker, folder.path, report, progress, member.copy_to, on_evaluation)
        if worker.rank == 0:
            save_whole(folder.weights, model.state_dict())
    times["trained"] = time.time()
    progress.at(progress.step, TESTING)
    if worker.rank == 0:
        sender.send("state", text=f"evaluating {max(cfg.evaluation.views)} views")
    _evaluate(model, cfg, folder, index, worker, progress)


def _have_judged(judge: Callable[[str, EvaluationPoint], None], member: str, curve: CurveWriter) -> None:
    if curve.newest:
        judge(member, curve.newest)


def _evaluate(
    model: nn.Module, cfg: Config, folder: MemberFolder, index: Index, worker: Worker, progress: Progress
) -> None:
    """All views of this worker's share of the images of `evaluation.split`, to disk."""
    split, views = index.split(cfg.evaluation.split), max(cfg.evaluation.views)
    place = folder.probabilities_of(cfg.evaluation.split)
    share = evaluation_share(split.samples, worker.rank, worker.world)
    pixels = Pixels(cfg.data, worker.device, channels_last=cfg.training.channels_last)
    dtype = autocast_dtype(cfg.training.precision, worker.device)
    predicted = predict(model, split, share, views, PredictConfig.of(cfg), pixels, dtype, worker.threads)
    probabilities.write_part(
        place, worker.rank, share, views, cfg.data.classes, cfg.evaluation.stored_dtype, _watched(predicted, progress)
    )
    _together(worker, progress.moved)
    if worker.rank == 0:
        probabilities.seal(place, split.samples, views, worker.world)


def _watched(predictions: Iterator[Predictions], progress: Progress) -> Iterator[Predictions]:
    for some in predictions:
        progress.moved()
        yield some


def _trained(cfg: Config, folder: MemberFolder, worker: Worker, progress: Progress) -> nn.Module | None:
    """The trained network, as rank 0 finds it; None where there is none, or its file is damaged: the newest checkpoint
    is as good."""
    model = build(cfg.model, cfg.data.classes, cfg.data.image_size, cfg.seed)

    def found() -> dict[str, Tensor] | None:
        if not folder.is_trained():
            return None
        try:
            model.load_state_dict(torch.load(folder.weights, map_location="cpu", weights_only=True))
        except Exception as error:  # whatever torch says of bytes from anywhere
            log.warning(
                "%s is unusable (%s); it is made again from the newest checkpoint", folder.weights, first_line(error)
            )
            return None
        return model.state_dict()

    weights = from_rank_0(worker, found, progress.moved)
    if weights is None:
        return None
    model.load_state_dict(weights)
    return model.to(worker.device).eval()


def _together(worker: Worker, waiting: Callable[[], None] | None = None) -> None:
    """Return when all have come: some have more images to evaluate, or a slower disk."""
    meet(worker, waiting)
    if worker.world > 1:
        dist.barrier()
