"""The training of one member on one worker: batches in, averaged weights out, reports and checkpoints on the way."""

import logging
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from platform.config.choices import DECODERS, chosen
from platform.config.data import NOT_BALANCED, DataConfig, LoaderConfig
from platform.config.loss import PRIOR
from platform.config.sampling import SamplingConfig
from platform.config.sections import Config
from platform.data import draws, samplelog
from platform.data.image_sizes import ImageSizes
from platform.data.index import Index, Split
from platform.data.labels import labels_of
from platform.data.loader import Batch, TrainLoader
from platform.data.order import Order
from platform.data.pixels import Pixels
from platform.data.samplelog import SampleLog
from platform.data.training_order import training_order
from platform.evaluation.predict import PredictConfig
from platform.evaluation.targets import Targets
from platform.models.build import build
from platform.models.frozen import freeze, frozen_norms
from platform.training import memory, schedules, weight_decay
from platform.training.averaged_network import AveragedNetwork
from platform.training.averaging import WeightAverage
from platform.training.checkpoints import Checkpoints
from platform.training.early_stopping import Patience
from platform.training.initial import begin_with
from platform.training.kept_networks import KeptNetworks
from platform.training.loss import with_prior
from platform.training.lr_scales import scale_lr, set_lr
from platform.training.memory import OutOfMemory
from platform.training.meter import Meter, samples_of
from platform.training.optim import optimiser
from platform.training.peers import from_rank_0, meet
from platform.training.profiler import StepProfiler
from platform.training.progress import COMPUTING, EVALUATING, WAITING, Progress
from platform.training.saver import Saver
from platform.training.state import TrainingState
from platform.training.step import StepConfig, StepResult, autocast_dtype, train_step
from platform.training.step_parts import LOGGING, REST, WAIT
from platform.training.step_time import StepTimer
from platform.training.timetable import Timetable
from platform.training.validation import evaluate
from platform.training.worker import Worker

log = logging.getLogger("platform.training")
Report = Callable[[int, dict[str, float]], None]  # (global steps done, metrics)


def train(
    cfg: Config,
    index: Index,
    worker: Worker,
    folder: Path,
    report: Report,
    progress: Progress | None = None,
    copy_to: str | None = None,
    on_evaluation: Callable[[], None] | None = None,
    initial: Path | None = None,
    teacher: Path | None = None,
) -> nn.Module:
    """Train one member, from its newest checkpoint if there is one, to the end.

    Args:
        cfg: the member's resolved config.
        index: the data set.
        worker: which replica this is; every replica of a member calls this with the same config.
        folder: the member's, for its checkpoints.
        report: called on rank 0 with metrics.
        progress: is told where the training is, and passes on requests for checkpoints.
        copy_to: folder or URL for copies of the checkpoints.
        on_evaluation: called on rank 0 after each evaluation but the last, once it is saved; what it raises ends the
            training.
        initial: safetensors of the weights that a new training begins with; None: all are drawn from the seed.
        teacher: folder of the targets that it learns from, of the same training images; None: labels alone.

    Returns:
        the network with the averaged weights, in evaluation mode; the same on every rank.

    Raises:
        NonFiniteLoss: with the step, rank and samples.
        OutOfMemory: of the GPU, with what would fit.
        CheckpointError: none can be written, or read.
        ShardError: from the data.
    """
    progress = progress or Progress()
    report = report if worker.rank == 0 else _report_nothing
    split, validation_split = index.split("train"), index.split("val")
    asked, moved = cfg.data.balance != NOT_BALANCED or cfg.loss.smoothing_over == PRIOR, progress.moved
    labels = from_rank_0(worker, lambda: labels_of(split, lambda *_: moved()), moved) if asked else None
    order = training_order(cfg, split, labels)
    timetable = Timetable.of(cfg.training, cfg.checkpoint, cfg.evaluation, order.steps_per_epoch)
    last_step = timetable.last_step
    dtype = autocast_dtype(cfg.training.precision, worker.device)
    module = build(cfg.model, cfg.data.classes, cfg.data.image_size, cfg.seed).to(worker.device)
    module = module.to(memory_format=torch.channels_last if cfg.training.channels_last else torch.contiguous_format)
    freeze(module, cfg.model.freeze)
    optimizer = optimiser(module, cfg.optim)
    scale_lr(optimizer, module, cfg.optim, cfg.model, cfg.data.classes, cfg.data.image_size)
    log.info(weight_decay.summary(module))
    lr_factor = schedules.lr_factor(cfg.schedule, order.steps_per_epoch, last_step)
    average = WeightAverage(module, cfg.training, order.steps_per_epoch, last_step)
    kept = KeptNetworks(module, cfg.training, cfg.schedule, order.steps_per_epoch, last_step)
    state = TrainingState(module, optimizer, average, kept)
    checkpoints = Checkpoints(folder / "checkpoints", cfg.checkpoint, cfg.storage, copy_to)
    timer = StepTimer.on(worker.device)
    saver = Saver(cfg.checkpoint, worker, checkpoints, state, progress, timer)
    step = saver.restore()
    if step == 0 and initial:
        begin_with(initial, state, cfg, index.classes, worker, progress)
    model, still = _replicated(module, worker), frozen_norms(module, cfg.model.freeze)
    pixels = Pixels(cfg.data, worker.device, channels_last=cfg.training.channels_last)
    step_cfg, predict_cfg = StepConfig.of(cfg), PredictConfig.of(cfg)
    step_cfg = replace(step_cfg, loss=with_prior(cfg.loss, labels, cfg.data.classes))
    whole_lr = cfg.optim.lr_of(cfg.training.batch_size)
    meter = Meter(cfg.training, whole_lr, worker, order, start_step=step)
    profiler = StepProfiler(cfg.training.profile_steps, folder, worker)
    patience = Patience.of(cfg.training, order.steps_per_epoch)

    def open_loader(sizes: ImageSizes | None = None) -> TrainLoader:
        return training_loader(split, order, cfg.data, cfg.sampling, cfg.loader, worker, sizes)

    loader = open_loader(ImageSizes.of(cfg.training.sizes, cfg.data.image_size, last_step))
    transforms, frozen = cfg.transforms, cfg.model.freeze
    targets = Targets(teacher) if teacher else None
    averaged = AveragedNetwork(
        state, worker, order, open_loader, pixels, cfg.sampling, transforms, dtype, progress, frozen
    )

    def evaluate_and_save() -> None:
        progress.at(step, EVALUATING)
        timer.mark(REST)
        began = time.monotonic()
        rates = evaluate(averaged.after(step), predict_cfg, validation_split, worker, pixels, dtype, progress).rates()
        took = {"val/seconds": time.monotonic() - began}  # a log step came before, which waited for the device
        is_best = state.scored(step, rates["top1"], cfg.training.min_delta)
        last = step == last_step or patience.is_over(state, step)
        if patience.is_over(state, step) and step < last_step:
            took |= {"stopped_epoch": step / order.steps_per_epoch, "progress": 1.0}
            log.log(logging.WARNING if worker.rank == 0 else logging.DEBUG, patience.reason(state, step))
        report(step, {f"val/{name}": value for name, value in rates.items()} | took)
        timer.leave_out()
        saver.save_if_due(step, meter, is_best, log_step=True, last=last)
        if on_evaluation and not last and worker.rank == 0:
            with progress.excused():
                on_evaluation()
        meet(worker, progress.moved)  # rank 0 may have waited for a copy of its checkpoint, or in on_evaluation
        meter.restart_clock()
        timer.leave_out()

    with checkpoints, loader, _sample_log(folder, worker, wanted=cfg.loader.log_samples) as samples, profiler:
        progress.restored(step, lambda: samples_of(order, progress.step, worker))
        if saver.evaluated_step < step and timetable.evaluates(step):
            # It was killed between the checkpoint and the evaluation, before which there is a log step otherwise.
            report(step, {"train/epoch": step / order.steps_per_epoch, "progress": step / last_step})
            evaluate_and_save()
        timer.begin()
        stopped = patience.is_over(state, step)  # before a restart, perhaps
        for batch in loader.steps(step, step if stopped else last_step):
            batch.teacher_logs_NK = targets.rows(batch.ids_N) if targets else None
            timer.mark(WAIT)
            progress.at(step, COMPUTING)
            samples.add(step, batch.ids_N)
            profiler.begin(step + 1)
            torch.manual_seed(draws.key(cfg.seed, cfg.order_seed, step, worker.rank))  # of what draws besides dropout
            lr = whole_lr * lr_factor(step)
            set_lr(optimizer, lr)
            module.train()
            for norm in still:
                norm.eval()
            result = _train_step(model, state, batch, pixels, step_cfg, dtype, worker, timer)
            average.update(module, step)
            kept.update(module, step)
            meter.add(result, step)
            step += 1
            if profiler.end(step):
                meter.restart_clock()
                timer.leave_out()
            if timetable.is_log_step(step):
                with timer.apart(LOGGING):
                    metrics = meter.read(step, last_step, loader, timer)  # sync point
                    report(step, metrics | {"train/lr": lr, "train/epoch": step / order.steps_per_epoch})
            saver.save_if_due(step, meter, log_step=timetable.is_log_step(step))  # sync point, where it saves
            if timetable.evaluates(step):
                evaluate_and_save()  # sync point
                if patience.is_over(state, step):
                    break
            progress.at(step, WAITING)
            timer.begin()
    as_network = lambda weights, several: averaged.of(weights, step, several=several)  # noqa: E731
    kept.save(folder / "networks", step, as_network, write=worker.rank == 0)
    if cfg.training.weights == "best":
        step = _load_best(state, checkpoints, worker, progress, order.steps_per_epoch)
        report(last_step, {"best_epoch": step / order.steps_per_epoch})
    return averaged.after(step)


def _load_best(
    state: TrainingState, checkpoints: Checkpoints, worker: Worker, progress: Progress, steps_per_epoch: int
) -> int:
    """Bring back the state of the evaluation with the highest top-1 on every rank; returns its step.

    Raises:
        CheckpointError: it is not there, or not whole.
    """
    step, score = int(state.best["step"]), state.best["score"]
    state.load(from_rank_0(worker, lambda: checkpoints.load_step(step), progress.moved))
    if worker.rank == 0:
        log.warning(
            "the weights of epoch %g are evaluated, whose single-view validation top-1 was the highest (%.2f%%): "
            "chosen by these images, they score better on them than on others",
            step / steps_per_epoch,
            100 * score,
        )
    return step


def _report_nothing(step: int, metrics: dict[str, float]) -> None:
    """Rank 0 speaks for all."""


def _train_step(
    model: nn.Module,
    state: TrainingState,
    batch: Batch,
    pixels: Pixels,
    cfg: StepConfig,
    dtype: torch.dtype,
    worker: Worker,
    timer: StepTimer,
) -> StepResult:
    """One step.

    Raises:
        OutOfMemory: of the GPU, with what would fit.
    """
    try:
        return train_step(model, state.optimizer, batch, pixels, cfg, dtype, world=worker.world, timer=timer)
    except torch.OutOfMemoryError as error:
        traceback.clear_frames(error.__traceback__)  # of what the step had in memory
        raise OutOfMemory(memory.advice(state.module, state.optimizer, batch, pixels, cfg, dtype)) from error


def training_loader(
    split: Split,
    order: Order,
    data: DataConfig,
    sampling: SamplingConfig,
    loader: LoaderConfig,
    worker: Worker,
    sizes: ImageSizes | None = None,
) -> TrainLoader:
    """The worker's batches of training images, decoded where `loader.decoder` says.

    Args:
        split: the images.
        order: which of them come when.
        data: their size and classes.
        sampling: how they are cropped.
        loader: where they are decoded, and how far ahead.
        worker: whose share.
        sizes: of the images at each step; None: `data.image_size`.

    Raises:
        ConfigError: by a GPU that the worker does not have.
    """
    loader.require_gpu(available=worker.device.type == "cuda")
    share = {"rank": worker.rank, "world": worker.world, "threads": worker.threads}
    made = chosen(DECODERS[loader.decoder])
    return made(split, order, data, sampling, worker.device, prefetch=loader.prefetch_batches, sizes=sizes, **share)


def _sample_log(folder: Path, worker: Worker, *, wanted: bool) -> SampleLog:
    """All workers log under the number of this start that rank 0 finds."""
    start = torch.tensor(samplelog.next_start(folder), device=worker.device)
    if worker.world > 1:
        dist.broadcast(start, src=0)
    return SampleLog(folder, int(start), worker.rank, worker.world, wanted=wanted)  # sync point


def _replicated(module: nn.Module, worker: Worker) -> nn.Module:
    if worker.world == 1:
        return module
    on_gpu = worker.device.type == "cuda"
    return DistributedDataParallel(module, device_ids=[worker.device.index] if on_gpu else None)
