"""The training of one member on one worker: batches in, averaged weights out, reports and checkpoints on the way."""

import copy
import logging
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from platform.config.choices import DECODERS, chosen
from platform.config.sections import CheckpointConfig, Config, DataConfig, LoaderConfig, SamplingConfig
from platform.data import draws, samplelog
from platform.data.cache import ShardError
from platform.data.index import Index, Split
from platform.data.loader import TrainLoader
from platform.data.order import Order, evaluation_share, total_steps, training_order
from platform.data.pixels import Pixels
from platform.data.samplelog import SampleLog
from platform.evaluation.metrics import Scores
from platform.evaluation.predict import PredictConfig, predict
from platform.models.build import build
from platform.training import batch_norm, memory, schedules
from platform.training.averaging import WeightAverage
from platform.training.checkpoints import Checkpoints, State
from platform.training.memory import OutOfMemory
from platform.training.meter import Meter, samples_of
from platform.training.optim import optimiser
from platform.training.peers import from_rank_0, meet
from platform.training.progress import COMPUTING, EVALUATING, WAITING, Progress
from platform.training.step import StepConfig, arithmetic, train_step
from platform.training.worker import Worker

log = logging.getLogger("platform.training")
LONGEST_WAIT_S = 5.0  # of who asks for a checkpoint, for the next reading
Report = Callable[[int, dict[str, float]], None]  # (global steps done, metrics)


def train(
    cfg: Config,
    index: Index,
    worker: Worker,
    folder: Path,
    report: Report,
    progress: Progress | None = None,
    copy_to: str | None = None,
    judge: Callable[[], None] | None = None,
) -> nn.Module:
    """Train one member, from its newest checkpoint if there is one, to the end.

    Args:
        cfg: the member's resolved config.
        index: the data set.
        worker: which replica this is; every replica of a member calls this with the same config.
        folder: the member's, for its checkpoints.
        report: called on rank 0 with metrics.
        progress: is told where the training is, and asks for checkpoints.
        copy_to: folder or URL for copies of the checkpoints.
        judge: called on rank 0 after each evaluation but the last, when it is saved; what it raises ends the training.

    Returns:
        the network with the averaged weights, in evaluation mode; the same on every rank.

    Raises:
        NonFiniteLoss: with the step, rank and samples.
        OutOfMemory: of the GPU, with what would fit.
        CheckpointError: none can be written, or read.
        ShardError: from the data.
    """
    progress = progress or Progress()
    split = index.split("train")
    order = training_order(cfg, split)
    last_step = total_steps(cfg.training.epochs, order.steps_per_epoch)
    dtype = arithmetic(cfg.training.precision, worker.device)
    memory_format = torch.channels_last if cfg.training.channels_last else torch.contiguous_format
    module = build(cfg.model, cfg.data.classes, cfg.data.image_size, cfg.seed).to(worker.device)
    module = module.to(memory_format=memory_format)
    optimizer = optimiser(module, cfg.optim)
    lr_factor = schedules.lr_factor(cfg.schedule, order.steps_per_epoch, last_step)
    average = WeightAverage(module, cfg.training, order.steps_per_epoch, last_step)
    checkpoints = Checkpoints(folder / "checkpoints", cfg.checkpoint, cfg.storage, copy_to)
    saver = Saver(cfg.checkpoint, worker, checkpoints, TrainingState(module, optimizer, average), progress)
    step = saver.restore()
    model = _replicated(module, worker)
    pixels = Pixels(cfg.data, worker.device, channels_last=cfg.training.channels_last)
    meter = Meter(cfg.training, cfg.optim.lr, worker, order, start_step=step)
    settings = StepConfig.of(cfg)

    def open_loader() -> TrainLoader:
        return training_loader(split, order, cfg.data, cfg.sampling, cfg.loader, worker)

    loader = open_loader()

    def averaged_network() -> nn.Module:
        _share_statistics(module, average, worker)
        network = averaged(module, average)
        if average.is_of_several(step) and batch_norm.layers(network):
            with open_loader() as again:
                images = batch_norm.newest_images(again, order, step, worker, pixels, cfg.sampling)
                batch_norm.recompute(network, _watched(images, progress), order.streams, worker, dtype)
        return network

    def validate() -> float:
        progress.at(step, EVALUATING)
        scores = evaluate(
            averaged_network(), PredictConfig.of(cfg), index.split("val"), worker, pixels, dtype, progress
        )
        if worker.rank == 0:
            report(step, {f"val/{name}": value for name, value in scores.rates().items()})
        meter.restart_clock()
        return scores.rates()["top1"]

    def settle(score: float | None, *, read: bool) -> None:
        saver.after(step, meter, score, read=read, last=step == last_step)
        if judge and score is not None and step < last_step and worker.rank == 0:
            with progress.excused():
                judge()
        if score is not None:
            meet(worker, progress.moved)  # rank 0 may have waited for a copy of its checkpoint, or for the judge
            meter.restart_clock()

    with checkpoints, loader, _sample_log(folder, worker, wanted=cfg.loader.log_samples) as samples:
        progress.restored(step, lambda: samples_of(order, progress.step, worker))
        if saver.evaluated_step < step and _evaluation_due(cfg, step, order.steps_per_epoch, last_step):
            # It was killed between the checkpoint and the evaluation, before which there is a reading otherwise.
            if worker.rank == 0:
                report(step, {"train/epoch": step / order.steps_per_epoch, "progress": step / last_step})
            settle(validate(), read=True)
        for batch in loader.steps(step, last_step):
            progress.at(step, COMPUTING)
            samples.add(step, batch.ids_N)
            module.train()
            torch.manual_seed(draws.key(cfg.seed, cfg.order_seed, step, worker.rank))  # of what draws besides dropout
            lr = cfg.optim.lr * lr_factor(step)
            for group in optimizer.param_groups:
                group["lr"] = lr
            try:
                result = train_step(model, optimizer, batch, pixels, settings, dtype, world=worker.world)
            except torch.OutOfMemoryError as error:
                traceback.clear_frames(error.__traceback__)  # of what the step had in memory
                raise OutOfMemory(memory.advice(module, optimizer, batch, pixels, settings, dtype)) from error
            average.update(module, step)
            meter.add(result, step)
            step += 1
            evaluating = _evaluation_due(cfg, step, order.steps_per_epoch, last_step)
            reading = evaluating or _reading_due(cfg, step)
            if reading:
                metrics = meter.read(step, last_step, loader)  # sync point
                if worker.rank == 0:
                    report(step, metrics | {"train/lr": lr, "train/epoch": step / order.steps_per_epoch})
            if evaluating:
                saver.after(step, meter, None, read=True, last=False)  # it may take long
            settle(validate() if evaluating else None, read=reading)
            progress.at(step, WAITING)
    return averaged_network()


@dataclass
class TrainingState:
    """All that changes in training. What is drawn follows from seeds and the step: there is no state of it."""

    module: nn.Module
    optimizer: torch.optim.Optimizer
    average: WeightAverage
    best: dict[str, float] = field(default_factory=lambda: {"step": -1, "score": -1.0})  # single-view top-1
    evaluated: int = 0  # step of the newest evaluation

    def at(self, step: int) -> State:
        return {
            "step": step,
            "model": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state,
            "best": self.best,
            "evaluated": self.evaluated,
        }

    def load(self, saved: State) -> None:
        self.module.load_state_dict(saved["model"])
        settings = [{key: group[key] for key in group if key != "params"} for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(saved["optimizer"])
        for group, own in zip(self.optimizer.param_groups, settings, strict=True):
            group.update(own)  # as configured: PBT goes on from a trial with other ones
        self.best, self.evaluated = saved["best"], saved["evaluated"]
        average: dict[str, Tensor] = saved["average"]
        for name, value in self.average.state.items():
            value.copy_(average[name])


class Saver:
    """Saves the state when it is time, on rank 0, and brings it back on every rank."""

    def __init__(
        self, cfg: CheckpointConfig, worker: Worker, checkpoints: Checkpoints, state: TrainingState, progress: Progress
    ) -> None:
        self._cfg, self._worker = cfg, worker
        self._checkpoints, self._state, self._progress = checkpoints, state, progress
        self._saved_at, self._saved_step, self._due = time.monotonic(), -1, False

    def restore(self) -> int:
        """Load the newest checkpoint on rank 0 and give it to all, so that none has another; returns its step."""
        saved = from_rank_0(self._worker, self._checkpoints.load, self._progress.moved)
        if saved is None:
            return 0
        self._state.load(saved)
        step = int(saved["step"])
        log.info("resumed at step %d", step)
        return step

    @property
    def evaluated_step(self) -> int:
        """Of the newest evaluation that the state knows of; the same on every rank."""
        return self._state.evaluated

    def after(self, step: int, meter: Meter, score: float | None, *, read: bool, last: bool) -> None:
        """Save if it is time; `score` is the evaluation's, if there was one after this step.

        Where the meter was just `read`: means that begin anywhere else would be others after a restart. Only somebody
        who asks does not wait long for that.

        Raises:
            CheckpointError: too many could not be written.
        """
        best = False
        if score is not None:
            self._state.evaluated = step
        if score is not None and score > self._state.best["score"]:
            best = True
            self._state.best = {"step": step, "score": score}
        fresh = step != self._saved_step
        wanted = last or (score is not None and self._cfg.with_evaluations)
        self._due |= wanted or (best and self._cfg.keep_best) or (fresh and self._is_time(step))  # until it can be
        asked_for_s = self._progress.checkpoint_asked_for_s()
        if self._worker.rank != 0 or not ((read and (self._due or asked_for_s > 0)) or asked_for_s > LONGEST_WAIT_S):
            return
        if meter.first_bad_step() is not None:  # sync point; every worker raises at the next reading
            return
        best_step = int(self._state.best["step"]) if self._cfg.keep_best else None
        if self._checkpoints.save(
            self._state.at(step),
            best_step=best_step,
            wait=wanted,
            urgent=best and self._cfg.keep_best,
            taken=self._progress.checkpoint_is_taken,
            waiting=self._progress.moved,
        ):
            self._saved_at, self._saved_step, self._due = time.monotonic(), step, False

    def _is_time(self, step: int) -> bool:
        every = self._cfg.every_steps
        return time.monotonic() - self._saved_at > self._cfg.every_s or (every > 0 and step % every == 0)


def training_loader(
    split: Split, order: Order, data: DataConfig, sampling: SamplingConfig, loader: LoaderConfig, worker: Worker
) -> TrainLoader:
    """The worker's batches, decoded where `loader.decoder` says.

    Raises:
        ConfigError: by a GPU that the worker does not have.
    """
    loader.require_gpu(available=worker.device.type == "cuda")
    share = {"rank": worker.rank, "world": worker.world, "threads": worker.threads}
    made = chosen(DECODERS[loader.decoder])
    return made(split, order, data, sampling, worker.device, prefetch=loader.prefetch_batches, **share)


def _sample_log(folder: Path, worker: Worker, *, wanted: bool) -> SampleLog:
    """All workers log under the number of this start that rank 0 finds."""
    start = torch.tensor(samplelog.next_start(folder), device=worker.device)
    if worker.world > 1:
        dist.broadcast(start, src=0)
    return SampleLog(folder, int(start), worker.rank, worker.world, wanted=wanted)


def averaged(module: nn.Module, average: WeightAverage) -> nn.Module:
    """A copy of the network with the averaged weights and statistics, in evaluation mode."""
    evaluated = copy.deepcopy(module).eval()
    evaluated.load_state_dict(average.state)
    return evaluated


def _watched(images: Iterable[Tensor], progress: Progress) -> Iterator[Tensor]:
    for some in images:
        progress.moved()
        yield some


def evaluate(
    model: nn.Module,
    cfg: PredictConfig,
    split: Split,
    worker: Worker,
    pixels: Pixels,
    dtype: torch.dtype,
    progress: Progress,
) -> Scores:
    """Single-view scores over the whole split, the same on every rank.

    Raises:
        RuntimeError: the samples counted over all workers are not the split's.
        ShardError: none of them can be decoded.
    """
    share = evaluation_share(split.samples, worker.rank, worker.world)
    scores = Scores()
    for some in predict(model, split, share, 1, cfg, pixels, dtype, worker.threads):
        progress.moved()
        scores += Scores.of(some.probs_NVK[:, 0], torch.from_numpy(some.labels_N), torch.from_numpy(some.valid_N))
    sums = torch.tensor(scores.as_list(), dtype=torch.float64, device=worker.device)
    meet(worker, progress.moved)
    if worker.world > 1:
        dist.all_reduce(sums)
    samples, top1, top5, loss, corrupt = sums.tolist()
    if int(samples + corrupt) != split.samples:
        raise RuntimeError(f"evaluated {int(samples + corrupt)} samples, the split has {split.samples}")
    if not samples:
        raise ShardError(f"none of the {split.samples} images of {split.name} can be decoded; mend the shards")
    return Scores(int(samples), int(top1), int(top5), loss, int(corrupt))


def _replicated(module: nn.Module, worker: Worker) -> nn.Module:
    if worker.world == 1:
        return module
    on_gpu = worker.device.type == "cuda"
    return DistributedDataParallel(module, device_ids=[worker.device.index] if on_gpu else None)


def _share_statistics(module: nn.Module, average: WeightAverage, worker: Worker) -> None:
    """Average over rank 0's batch norm statistics everywhere: each replica's are of its own share of the batches."""
    if worker.world > 1:
        for name, _ in module.named_buffers():
            dist.broadcast(average.state[name], src=0)


def _reading_due(cfg: Config, step: int) -> bool:
    """Evaluations, the last step among them, are preceded by a reading, too."""
    every = cfg.checkpoint.every_steps
    return step == 1 or step % cfg.training.log_every_steps == 0 or (every > 0 and step % every == 0)


def _evaluation_due(cfg: Config, step: int, steps_per_epoch: int, total_steps: int) -> bool:
    every = cfg.evaluation.every_epochs * steps_per_epoch
    return step >= total_steps or (every > 0 and step % every == 0)
