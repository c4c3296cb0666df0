"""The worker's side of training: a Ray Train worker group takes its members one after another in warm processes.

Starting a worker group costs more than a short member, so a group (a lane) keeps its processes from member to member.
"""

import gc
import logging
import resource
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch
import torch.distributed as dist
from torch import nn

from platform.cluster import Sender, WarningForwarder
from platform.config import Config
from platform.data.cache import ShardError
from platform.data.index import Index, read_index
from platform.data.order import evaluation_share
from platform.data.pixels import Pixels
from platform.evaluation import probabilities
from platform.evaluation.predict import predict
from platform.experiment import FAILED, FINISHED, MemberFolder, MemberState
from platform.models.build import build
from platform.telemetry import system_metrics
from platform.training.loop import train
from platform.training.meter import NonFiniteLoss
from platform.training.step import arithmetic
from platform.training.worker import Worker

log = logging.getLogger("platform")


@dataclass(frozen=True)
class LaneMember:
    """One member of a lane."""

    name: str
    config: Config
    folder: Path


@dataclass(frozen=True)
class Lane:
    """What every worker of a lane is given."""

    members: list[LaneMember]
    mailbox: Any  # Ray's handle of a Mailbox


def train_lane(lane: Lane) -> None:
    """Train and evaluate the lane's members; runs on each of its workers."""
    context = ray.train.get_context()
    cluster = lane.members[0].config.cluster
    torch.set_num_threads(cluster.cpus_per_worker)
    worker = Worker(
        rank=context.get_world_rank(),
        world=context.get_world_size(),
        device=ray.train.torch.get_device(),
        threads=lane.members[0].config.loader.threads or cluster.cpus_per_worker,
    )
    _allow_many_open_shards()
    gc.collect()
    gc.freeze()  # torch's and Ray's half a million objects: the collector need not walk them at every few images
    config = lane.members[0].config
    index = read_index(config.data.shards, config.storage)
    for member in lane.members:
        run_member(member, index, worker, Sender(lane.mailbox, member.name))


def _allow_many_open_shards() -> None:
    """Each takes a file descriptor; the usual soft limit of 1024 is a convention of the 1980s."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def run_member(member: LaneMember, index: Index, worker: Worker, sender: Sender) -> None:
    """One member from wherever it stands to its evaluated end. What every worker sees and would meet again (a loss that
    is not finite, bad shards) is recorded, and the lane goes on; any other failure ends the worker group, which Ray
    Train starts again in fresh processes, up to `training.max_attempts` times for a member."""
    folder = MemberFolder(member.folder)
    state = folder.state()
    if state.state == FAILED or folder.is_finished(max(member.config.evaluation.views)):
        return
    if state.starts >= member.config.training.max_attempts:
        state.state, state.error = FAILED, f"given up after {state.starts} starts; {state.error or 'its workers died'}"
        _leave(folder, state, worker, sender)
        return
    _together(worker)  # everyone has read the state before it changes
    state.starts += 1
    state.times = {"started": time.time()}
    if worker.rank == 0:
        folder.set_state(state)
    forwarder = WarningForwarder(sender)
    log.addHandler(forwarder)
    try:
        with _SystemMetrics(member.config, sender, enabled=worker.rank == 0):
            _train_and_evaluate(member, folder, index, worker, sender, state.times)
        state.state, state.error = FINISHED, ""
    except Exception as error:
        state.error = f"{type(error).__name__}: {error}"
        final = isinstance(error, NonFiniteLoss) or (isinstance(error, ShardError) and worker.world == 1)
        if not final:
            if worker.rank == 0 or not folder.state().error:  # the cause, not what a peer saw of it
                folder.set_state(state)
            raise
        state.state = FAILED
    finally:
        log.removeHandler(forwarder)
    _leave(folder, state, worker, sender)


def _leave(folder: MemberFolder, state: MemberState, worker: Worker, sender: Sender) -> None:
    _together(worker)
    if worker.rank == 0:
        state.times["ended"] = time.time()
        folder.set_state(state)
        sender.send("state", text=state.state if state.state == FINISHED else f"{state.state}: {state.error}")
    _together(worker)


def _train_and_evaluate(
    member: LaneMember, folder: MemberFolder, index: Index, worker: Worker, sender: Sender, times: dict[str, float]
) -> None:
    cfg = member.config
    if worker.rank == 0:
        sender.send("state", text="starting")

    def report(step: int, metrics: dict[str, float]) -> None:
        times.setdefault("first_step", time.time())
        sender.send("metrics", step=step, metrics=metrics)

    if folder.is_trained():
        model = _trained(cfg, folder, worker)
    else:
        model = train(cfg, index, worker, folder.path, report)
        if worker.rank == 0:
            unfinished = folder.weights.with_suffix(".unfinished")
            torch.save(model.state_dict(), unfinished)
            unfinished.replace(folder.weights)
    times["trained"] = time.time()
    if worker.rank == 0:
        sender.send("state", text=f"evaluating {max(cfg.evaluation.views)} views")
    _evaluate(model, cfg, folder, index, worker)


def _evaluate(model: nn.Module, cfg: Config, folder: MemberFolder, index: Index, worker: Worker) -> None:
    """All views of this worker's share of the validation images, to disk."""
    split, views = index.split("val"), max(cfg.evaluation.views)
    share = evaluation_share(split.samples, worker.rank, worker.world)
    pixels = Pixels(cfg.data, worker.device, channels_last=cfg.training.channels_last)
    dtype = arithmetic(cfg.training.precision, worker.device)
    predictions = predict(model, split, share, views, cfg, pixels, dtype, worker.threads)
    probabilities.write_part(
        folder.probabilities, worker.rank, share, views, cfg.data.classes, cfg.evaluation.stored_dtype, predictions
    )
    _together(worker)
    if worker.rank == 0:
        probabilities.seal(folder.probabilities, split.samples, views, worker.world)


def _trained(cfg: Config, folder: MemberFolder, worker: Worker) -> nn.Module:
    model = build(cfg.model, cfg.data.classes, cfg.data.image_size, cfg.seed)
    model.load_state_dict(torch.load(folder.weights, map_location="cpu", weights_only=True))
    return model.to(worker.device).eval()


def _together(worker: Worker) -> None:
    if worker.world > 1:
        dist.barrier()


class _SystemMetrics:
    """A thread that sends what the node is doing while a member runs."""

    def __init__(self, cfg: Config, sender: Sender, *, enabled: bool) -> None:
        self._every_s = cfg.tracking.system_metrics_every_s
        self._sender = sender
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send, name="system metrics", daemon=True) if enabled else None

    def __enter__(self) -> None:
        if self._thread:
            self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join()

    def _send(self) -> None:
        system_metrics()  # the first processor figure has no interval
        while not self._stop.wait(self._every_s):
            self._sender.send("metrics", metrics=system_metrics())
