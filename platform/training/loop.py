"""The training of one member on one worker: batches in, averaged weights out, reports and checkpoints on the way."""

from collections.abc import Callable
from pathlib import Path

from torch import nn

from platform.config.sections import Config
from platform.data.image_sizes import ImageSizes
from platform.data.index import Index
from platform.data.pixels import Pixels
from platform.data.sets import training_split
from platform.training.arithmetic import set_arithmetic
from platform.training.averaged_network import AveragedNetwork
from platform.training.checkpoints import Checkpoints
from platform.training.division import DivisionFinder, known
from platform.training.evaluations import Evaluations, Report
from platform.training.feed import Feed
from platform.training.fused.group import Place
from platform.training.fused.shared_batches import open_loader
from platform.training.initial import begin_with, initial_state
from platform.training.learner import Learner
from platform.training.meter import Meter, samples_of
from platform.training.profiler import StepProfiler
from platform.training.progress import COMPUTING, WAITING, Progress
from platform.training.saver import Saver
from platform.training.step import autocast_dtype
from platform.training.step_parts import LOGGING, WAIT
from platform.training.step_time import StepTimer
from platform.training.timetable import Timetable
from platform.training.worker import Worker


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
    place: Place | None = None,
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
        place: among members that are trained together, each by a call of this; None: by itself.

    Returns:
        the network with the averaged weights, in evaluation mode; the same on every rank.

    Raises:
        NonFiniteLoss: with the step, rank and samples.
        OutOfMemory: of the GPU, with what would fit.
        CheckpointError: none can be written, or read.
        ShardError: from the data.
    """
    progress, timer = progress or Progress(), StepTimer.on(worker.device)
    report = report if worker.rank == 0 else _report_nothing
    feed = Feed.of(cfg, training_split(index, cfg.data), worker, progress, teacher)
    timetable = Timetable.of(cfg.training, cfg.checkpoint, cfg.evaluation, feed.order.steps_per_epoch)
    last_step = timetable.last_step

    set_arithmetic(cfg.training, worker.device)
    state = initial_state(cfg, timetable, worker.device)
    checkpoints = Checkpoints(folder / "checkpoints", cfg.checkpoint, cfg.storage, copy_to)
    saver = Saver(cfg.checkpoint, worker, checkpoints, state, progress, timer)
    step = saver.restore()
    if step == 0 and initial:
        begin_with(initial, state, cfg, index.classes, worker, progress)

    pixels = Pixels(cfg.data, worker.device, channels_last=cfg.training.channels_last)
    dtype = autocast_dtype(cfg.training.precision, worker.device)
    learner = Learner(cfg, state, feed, timetable, pixels, dtype, timer, progress, place)
    meter = Meter(cfg.training, learner.whole_lr, worker, feed.order, start_step=step)
    averaged = AveragedNetwork(cfg, feed, state, pixels, dtype, progress)
    validation = index.split("val")
    evaluations = Evaluations(averaged, validation, timetable, saver, meter, timer, report, on_evaluation)

    sizes = ImageSizes.of(cfg.training.sizes, cfg.data.image_size, last_step)
    loader = open_loader(feed, sizes, range(step, last_step), place, known(cfg.loader, state))
    finder = DivisionFinder(cfg.loader, state, loader, worker, step)
    profiler = StepProfiler(cfg.training.profile_steps, folder, worker)
    with checkpoints, loader, feed.sample_log(folder) as samples, profiler:
        progress.restored(step, lambda: samples_of(feed.order, progress.step, worker))
        if evaluations.missed(step):  # before which there is a log step otherwise
            report(step, {"train/epoch": timetable.epoch(step), "progress": step / last_step})
            evaluations.after(step)
        timer.begin()
        stopped = evaluations.end_training(step)  # before a restart, perhaps
        for batch in feed.batches(loader, step, step if stopped else last_step):
            timer.mark(WAIT)
            progress.at(step, COMPUTING)
            samples.add(step, batch.ids_N)
            profiler.begin(step + 1)
            meter.add(learner.learn(batch, step), step)
            step += 1
            if profiler.end(step):
                meter.restart_clock()
                timer.leave_out()
            if timetable.is_log_step(step):
                with timer.apart(LOGGING):
                    metrics = meter.read(step, last_step, loader, timer)  # sync point
                    metrics |= finder.take(step, metrics)
                    report(step, metrics | {"train/lr": learner.lr, "train/epoch": timetable.epoch(step)})
            saver.save_if_due(step, meter, log_step=timetable.is_log_step(step))  # sync point, where it saves
            if timetable.evaluates(step):
                evaluations.after(step)  # sync point
                if evaluations.end_training(step):
                    break
            progress.at(step, WAITING)
            timer.begin()

    if place:
        place.leave()
    averaged.save_kept(folder / "networks", step)
    if cfg.training.weights == "best":
        step = saver.restore_best(timetable.steps_per_epoch)
        report(last_step, {"best_epoch": timetable.epoch(step)})
    return averaged.after(step)


def _report_nothing(step: int, metrics: dict[str, float]) -> None:
    """Rank 0 speaks for all."""
