"""The training step alone, and the whole training loop on shards, against a bare PyTorch loop on data in memory.

The bare loop has the same network, arithmetic, loss, clipping and optimiser, and nothing else: no weight average, no
metrics, no mirroring. With `training.compile` the platform's step is measured compiled as well, without what compiling
takes.
"""

import time
from dataclasses import replace
from pathlib import Path

import torch

from platform.bench import fused
from platform.bench.figures import Figures
from platform.config.loss import PRIOR
from platform.config.sections import Config
from platform.config.training import NOT_COMPILED
from platform.data.batch import Batch
from platform.data.index import Index
from platform.data.labels import labels_of
from platform.data.pixels import Pixels
from platform.data.sets import training_split
from platform.data.train_loader import TrainLoader
from platform.data.training_order import training_order
from platform.models.build import build, logits_and_auxiliary
from platform.models.compiled import CompiledNetwork, compiling
from platform.training.averaging import WeightAverage
from platform.training.loop import train
from platform.training.loss import losses, with_prior
from platform.training.optim import optimiser
from platform.training.progress import Progress
from platform.training.step import StepConfig, autocast_dtype, train_step
from platform.training.worker import Worker

STEPS = 20


def measure(config: Config, index: Index, folder: Path, figures: Figures) -> None:
    """Measure images a second of the three; `step.*` and `train.*` into `figures`."""
    torch.set_num_threads(config.cluster.cpus_per_worker)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    split = training_split(index, config.data)
    order = training_order(config, split)
    with TrainLoader(split, order, config.data, config.sampling) as loader:
        batches = list(loader.steps(0, STEPS))
    if config.loss.smoothing_over == PRIOR:
        config = replace(config, loss=with_prior(config.loss, labels_of(split), config.data.classes))
    images = STEPS * config.training.batch_size
    bare, ours = _Bare(config, device, batches), _Platform(config, device, batches, order.steps_per_epoch)
    mode = config.training.compile
    compiled = None if mode == NOT_COMPILED else _Platform(config, device, batches, order.steps_per_epoch, mode)
    bare.run()  # allocator, kernels
    ours.run()
    loop_seconds(config, index, device, folder / "warm-up", 2)
    if compiled:
        with compiling(mode):
            compiled.run()
    for repeat in range(config.bench.repeats):
        bare_s, our_s = _seconds(bare, device), _seconds(ours, device)
        if compiled:
            compiled_s = _seconds(compiled, device)
            figures.add("step.compiled_images_per_s", images / compiled_s, f"the platform's step, compiled ({mode})")
            figures.add("step.compiled_over_eager", our_s / compiled_s, "the platform's step compiled over uncompiled")
        loop_images_per_s = _loop(config, index, device, folder / f"loop{repeat}")
        figures.add("step.bare_images_per_s", images / bare_s, "bare PyTorch loop, data in memory")
        figures.add("step.images_per_s", images / our_s, "the platform's step, data in memory")
        figures.add("step.platform_over_bare", bare_s / our_s, "platform's step over the bare loop")
        figures.add("train.images_per_s", loop_images_per_s, "the platform's whole loop on shards")
        figures.add("train.platform_over_bare", loop_images_per_s * bare_s / images, "whole loop over the bare loop")
    fused.measure(config, batches, device, figures)


class _Bare:
    def __init__(self, config: Config, device: torch.device, batches: list[Batch]) -> None:
        pixels = Pixels(config.data, device, channels_last=config.training.channels_last)
        self._data = [(pixels.evaluation(batch.images), batch.labels_N.to(device)) for batch in batches]
        self._model, self._device = _model(config, device), device
        self._dtype = autocast_dtype(config.training.precision, device)
        self._loss = config.loss
        self._weight, self._clip_norm = config.model.auxiliary_weight, config.optim.clip_norm
        self._optimizer = torch.optim.SGD(self._model.parameters(), lr=1e-3, momentum=0.9, weight_decay=2e-4)

    def run(self) -> None:
        for images, labels in self._data:
            with torch.autocast(self._device.type, self._dtype, enabled=self._dtype != torch.float32):
                main, auxiliary = logits_and_auxiliary(self._model(images))
            loss = losses(main, labels, self._loss).mean()
            for logits in auxiliary:
                loss = loss + self._weight * losses(logits, labels, self._loss).mean()
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if self._clip_norm:
                torch.nn.utils.clip_grad_norm_(self._model.parameters(), self._clip_norm)
            self._optimizer.step()


class _Platform:
    def __init__(
        self,
        config: Config,
        device: torch.device,
        batches: list[Batch],
        steps_per_epoch: int,
        mode: str = NOT_COMPILED,
    ) -> None:
        self._config = StepConfig.of(config)
        self._batches = batches
        self._pixels = Pixels(config.data, device, channels_last=config.training.channels_last)
        self._model = _model(config, device)
        self._optimizer = optimiser(self._model, replace(config.optim, lr=1e-3))
        self._dtype = autocast_dtype(config.training.precision, device)
        always = replace(config.training, averaging_start=0.0)  # averaging in every step, which costs most
        self._average = WeightAverage(self._model, always, steps_per_epoch, 10**6)
        self._run = self._model if mode == NOT_COMPILED else CompiledNetwork(self._model, mode)
        self._step = 0

    def run(self) -> None:
        for batch in self._batches:
            train_step(self._run, self._optimizer, batch, self._pixels, self._config, self._dtype, world=1)
            self._average.update(self._model, self._step)
            self._step += 1


def _loop(config: Config, index: Index, device: torch.device, folder: Path) -> float:
    """Images a second of the whole loop."""
    return (2 * STEPS - 1) * config.training.batch_size / loop_seconds(config, index, device, folder, 2 * STEPS)


def loop_seconds(
    config: Config, index: Index, device: torch.device, folder: Path, steps: int, progress: Progress | None = None
) -> float:
    """Seconds that `training.loop.train` takes from the report of its first step to that of its last."""
    order = training_order(config, training_split(index, config.data))
    short = replace(
        config,
        training=replace(config.training, epochs=steps / order.steps_per_epoch, log_every_steps=steps),
        evaluation=replace(config.evaluation, every_epochs=0),
    )
    times: list[float] = []

    def report(step: int, metrics: dict[str, float]) -> None:
        if "train/loss" in metrics:
            times.append(time.perf_counter())

    train(short, index, Worker(device=device, threads=config.cluster.cpus_per_worker), folder, report, progress)
    return times[-1] - times[0]


def _model(config: Config, device: torch.device) -> torch.nn.Module:
    memory_format = torch.channels_last if config.training.channels_last else torch.contiguous_format
    model = build(config.model, config.data.classes, config.data.image_size, config.seed)
    return model.to(device).to(memory_format=memory_format).train()


def _seconds(loop: _Bare | _Platform, device: torch.device) -> float:
    start = time.perf_counter()
    loop.run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start
