"""The training of one member on one worker: batches in, averaged weights out, reports and checkpoints on the way."""

import copy
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from platform.config import Config
from platform.data import draws, samplelog
from platform.data.deviceloader import DeviceTrainLoader
from platform.data.index import Index, Split
from platform.data.loader import TrainLoader
from platform.data.order import Order, evaluation_share, total_steps
from platform.data.pixels import Pixels
from platform.data.samplelog import SampleLog
from platform.evaluation.metrics import Scores
from platform.evaluation.predict import predict
from platform.models.build import build
from platform.training import checkpoints, schedules
from platform.training.averaging import WeightAverage
from platform.training.optim import sgd
from platform.training.step import StepResult, arithmetic, train_step

log = logging.getLogger("platform.training")
Report = Callable[[int, dict[str, float]], None]  # (global steps done, metrics)


class NonFiniteLoss(RuntimeError):
    """The loss or its gradient is infinite or not a number; raised on every worker alike."""


@dataclass(frozen=True)
class Worker:
    """This process among the member's workers."""

    rank: int = 0
    world: int = 1
    device: torch.device = torch.device("cpu")  # noqa: RUF009
    threads: int = 1  # for decoding


def train(cfg: Config, index: Index, worker: Worker, folder: Path, report: Report) -> nn.Module:
    """Train one member, from its newest checkpoint if there is one, to the end.

    Args:
        cfg: the member's resolved config.
        index: the data set.
        worker: which replica this is; every replica of a member calls this with the same config.
        folder: the member's, for its checkpoints.
        report: called on rank 0 with metrics.

    Returns:
        the network with the averaged weights, in evaluation mode; the same on every rank.

    Raises:
        NonFiniteLoss: with the step.
        ShardError: from the data.
    """
    split = index.split("train")
    order = training_order(cfg, split)
    last_step = steps_in(cfg, order)
    dtype = arithmetic(cfg.training.precision, worker.device)
    memory_format = torch.channels_last if cfg.training.channels_last else torch.contiguous_format
    module = build(cfg.model, cfg.data.classes, cfg.data.image_size, cfg.seed).to(worker.device)
    module = module.to(memory_format=memory_format)
    optimizer = sgd(module, cfg.optim)
    rate = schedules.rate(cfg.schedule, order.steps_per_epoch, last_step)
    average = WeightAverage(module, cfg.training, order.steps_per_epoch, last_step)
    step = _restore(folder, module, optimizer, average)
    model = _replicated(module, worker)
    pixels = Pixels(cfg.data, worker.device, channels_last=cfg.training.channels_last)
    meter = Meter(cfg, worker, start_step=step)
    saved_at = time.monotonic()
    loader = training_loader(cfg, split, order, worker)
    with loader, _sample_log(cfg, folder, worker) as samples:
        for batch in loader.steps(step, last_step):
            samples.add(step, batch.ids_N)
            module.train()
            torch.manual_seed(draws.key(cfg.seed, cfg.order_seed, step, worker.rank))  # dropout follows from the step
            lr = cfg.optim.lr * rate(step)
            for group in optimizer.param_groups:
                group["lr"] = lr
            result = train_step(model, optimizer, batch, pixels, cfg, dtype, world=worker.world)
            average.update(module, step)
            meter.add(result, step)
            step += 1
            if step % cfg.training.log_every_steps == 0 or step in (1, last_step):
                metrics = meter.read(step, last_step, loader)  # sync point
                if worker.rank == 0:
                    report(
                        step,
                        metrics
                        | {
                            "train/lr": lr,
                            "train/epoch": step / order.steps_per_epoch,
                        },
                    )
            if _evaluation_due(cfg, step, order.steps_per_epoch, last_step):
                _share_statistics(module, average, worker)
                scores = evaluate(averaged(module, average), cfg, index.split("val"), worker, pixels, dtype)
                if worker.rank == 0:
                    report(step, {f"val/{name}": value for name, value in scores.rates().items()})
                meter.restart_clock()
            if worker.rank == 0 and time.monotonic() - saved_at > cfg.training.checkpoint_every_s:
                if meter.first_bad_step() is None:  # sync point; otherwise every worker raises at the next reading
                    _save(folder, step, module, optimizer, average)
                saved_at = time.monotonic()
    if worker.rank == 0:
        _save(folder, step, module, optimizer, average)
    _share_statistics(module, average, worker)
    return averaged(module, average)


def training_order(cfg: Config, split: Split) -> Order:
    """The order of the member's images: (seed, order_seed) decides it.

    Raises:
        ConfigError: an epoch holds no whole batch.
    """
    seed = draws.key(cfg.seed, cfg.order_seed)
    return Order.of(split, cfg.loader.streams, cfg.training.batch_size, cfg.loader.block, seed)


def training_loader(cfg: Config, split: Split, order: Order, worker: Worker) -> TrainLoader:
    """The worker's batches, decoded where `loader.decoder` says.

    Raises:
        ConfigError: by a GPU that the worker does not have.
    """
    share: dict[str, Any] = {"rank": worker.rank, "world": worker.world, "prefetch": cfg.loader.prefetch_batches}
    on_gpu = worker.device.type == "cuda"
    if cfg.loader.decoder == "cpu":
        return TrainLoader(split, order, cfg.data, cfg.sampling, threads=worker.threads, pin=on_gpu, **share)
    cfg.loader.require_gpu(available=on_gpu)
    return DeviceTrainLoader(split, order, cfg.data, cfg.sampling, device=worker.device, **share)


def _sample_log(cfg: Config, folder: Path, worker: Worker) -> SampleLog:
    """All workers log under the number of this start that rank 0 finds."""
    start = torch.tensor(samplelog.next_start(folder), device=worker.device)
    if worker.world > 1:
        dist.broadcast(start, src=0)
    return SampleLog(folder, int(start), worker.rank, worker.world, wanted=cfg.loader.log_samples)


def steps_in(cfg: Config, order: Order) -> int:
    """Global steps of the whole run."""
    return total_steps(cfg.training.epochs, order.steps_per_epoch)


def averaged(module: nn.Module, average: WeightAverage) -> nn.Module:
    """A copy of the network with the averaged weights, in evaluation mode."""
    evaluated = copy.deepcopy(module).eval()
    evaluated.load_state_dict(average.state)
    return evaluated


def evaluate(model: nn.Module, cfg: Config, split: Split, worker: Worker, pixels: Pixels, dtype: torch.dtype) -> Scores:
    """Single-view scores over the whole split, the same on every rank.

    Raises:
        RuntimeError: the samples counted over all workers are not the split's.
    """
    share = evaluation_share(split.samples, worker.rank, worker.world)
    scores = Scores()
    for some in predict(model, split, share, 1, cfg, pixels, dtype, worker.threads):
        scores += Scores.of(some.probs_NVK[:, 0], torch.from_numpy(some.labels_N), torch.from_numpy(some.valid_N))
    sums = torch.tensor(scores.as_list(), dtype=torch.float64, device=worker.device)
    if worker.world > 1:
        dist.all_reduce(sums)
    samples, top1, top5, loss, corrupt = sums.tolist()
    if int(samples + corrupt) != split.samples:
        raise RuntimeError(f"evaluated {int(samples + corrupt)} samples, the split has {split.samples}")
    return Scores(int(samples), int(top1), int(top5), loss, int(corrupt))


class Meter:
    """Adds up step results on the device and reads them over all workers when asked."""

    def __init__(self, cfg: Config, worker: Worker, start_step: int) -> None:
        self._cfg, self._worker = cfg, worker
        self._last_step = start_step
        self._waited_s = 0.0
        self._sums = torch.zeros(4, device=worker.device)
        self._first_bad = torch.full((), -1, dtype=torch.int64, device=worker.device)
        self.restart_clock()

    def restart_clock(self) -> None:
        """Leave out of the speed what was not training."""
        self._since = time.monotonic()
        self._clock_step = None

    def add(self, result: StepResult, step: int) -> None:
        self._sums += torch.stack([result.loss, result.main_loss, result.correct, result.gradient_norm])
        bad = ~torch.isfinite(result.gradient_norm) & (self._first_bad < 0)  # the norm is the same on every worker
        self._first_bad = torch.where(bad, step, self._first_bad)
        if self._clock_step is None:
            self._clock_step = step

    def first_bad_step(self) -> int | None:
        """The first step whose gradient was not finite."""
        step = int(self._first_bad)
        return step if step >= 0 else None

    def check_finite(self) -> None:
        """Raise NonFiniteLoss if any step so far had no finite gradient."""
        step = self.first_bad_step()
        if step is not None:
            raise NonFiniteLoss(
                f"the loss is not finite at step {step}; lower optim.lr (now {self._cfg.optim.lr}), "
                "set optim.clip_norm or lengthen schedule.warmup_epochs, under a new name= or with fresh=true"
            )

    def read(self, step: int, total_steps: int, loader: TrainLoader) -> dict[str, float]:
        """Means since the last reading, over all workers; of the data, sums over them."""
        self.check_finite()
        elapsed = time.monotonic() - self._since
        waited = (loader.waited_s - self._waited_s) / elapsed
        counts = loader.counts() | {"data/wait_share": waited / self._worker.world}
        sums = torch.cat([self._sums, torch.tensor(list(counts.values()), device=self._sums.device)])
        if self._worker.world > 1:
            dist.all_reduce(sums)
        loss, main_loss, correct, norm = (sums[:4] / self._worker.world).tolist()
        counts = dict(zip(counts, sums[4:].tolist(), strict=True))
        steps = step - self._last_step
        timed_steps = step - (self._clock_step if self._clock_step is not None else step)
        images_per_s = timed_steps * self._cfg.training.batch_size / elapsed
        self._sums.zero_()
        self._last_step = step
        self._waited_s = loader.waited_s
        self.restart_clock()
        return counts | {
            "train/loss": loss / steps,
            "train/main_loss": main_loss / steps,
            "train/top1": correct * self._worker.world / (steps * self._cfg.training.batch_size),
            "train/gradient_norm": norm / steps,
            "train/images_per_s": images_per_s,
            "progress": step / total_steps,
        }


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


def _evaluation_due(cfg: Config, step: int, steps_per_epoch: int, total_steps: int) -> bool:
    every = cfg.evaluation.every_epochs * steps_per_epoch
    return step == total_steps or (every > 0 and step % every == 0)


def _save(folder: Path, step: int, module: nn.Module, optimizer: torch.optim.Optimizer, average: WeightAverage) -> None:
    checkpoints.save(
        folder,
        {"step": step, "model": module.state_dict(), "optimizer": optimizer.state_dict(), "average": average.state},
    )


def _restore(folder: Path, module: nn.Module, optimizer: torch.optim.Optimizer, average: WeightAverage) -> int:
    """Load the newest checkpoint into the training state; returns the step to go on with."""
    saved: dict[str, Any] | None = checkpoints.load(folder)
    if saved is None:
        return 0
    module.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    average_state: dict[str, Tensor] = saved["average"]
    for name, value in average.state.items():
        value.copy_(average_state[name])
    log.info("resumed at step %d from %s", saved["step"], folder)
    return int(saved["step"])
