"""Images a second of a training step, its batch on the device: uncompiled, compiled, as CUDA graphs.

Beside it the ceiling: what the device's memory and arithmetic, as measured, allow at best, and the share of it that is
reached. Uncompiled steps are compared with the bytes of their operators, compiled ones with fewer: see `work`.
"""

from collections.abc import Callable

import torch

from platform.config.data import DataConfig
from platform.config.optim import SGDConfig
from platform.config.sections import Config
from platform.config.training import CUDA_GRAPHS, DEFAULT_MODE, NOT_COMPILED, TrainingConfig
from platform.data.batch import Batch
from platform.data.pixels import Pixels
from platform.gpu_check.checks.compiled import WHY, require_compiling
from platform.gpu_check.context import Context
from platform.gpu_check.measures.roofline import COPY, PRODUCT
from platform.gpu_check.measures.timing import seconds_of_a_call
from platform.gpu_check.measures.work import work_of
from platform.gpu_check.results import Results
from platform.gpu_check.sizes import Measured
from platform.gpu_check.trainings import CLASSES, made_batch, on_device
from platform.models.build import build
from platform.training.arithmetic import set_arithmetic
from platform.training.compilation import Compilation
from platform.training.optim import optimiser
from platform.training.progress import Progress
from platform.training.replica import as_run
from platform.training.step import StepConfig, autocast_dtype, train_step

SMALLEST_BATCH = 16  # that is tried where a larger one does not fit
NAMES = {
    NOT_COMPILED: "eager",
    DEFAULT_MODE: "compiled",
    CUDA_GRAPHS: "graphs",
    "max-autotune-no-cudagraphs": "autotuned",
}


def measured(name: str, mode: str) -> Callable[[Context, Results], None]:
    """The part that measures a network of `sizes.measured` in a mode of `training.compile`."""

    def measure(context: Context, results: Results) -> None:
        network = next((each for each in context.sizes.measured if each.name == name), None)
        if network is None:
            return
        if mode != NOT_COMPILED:
            context.require_gpu(WHY)
            require_compiling(context, mode)
        _measure(context, network, mode, results)

    return measure


def _measure(context: Context, network: Measured, mode: str, results: Results) -> None:
    batch = network.batch
    while True:
        try:
            step = _step(context, network, mode, batch)
            seconds = seconds_of_a_call(context, step)
            break
        except torch.OutOfMemoryError:
            if batch // 2 < SMALLEST_BATCH:
                raise
            batch //= 2
            torch.cuda.empty_cache()
    figure = f"step.{network.name}.{NAMES[mode]}"
    precision = autocast_dtype("auto", context.device)
    meaning = f"training, {network.image_size} px, batches of {batch} on the device, {str(precision).split('.')[1]}"
    for each in seconds:
        results.figures.add(f"{figure}_images_per_s", batch / each, meaning)
    if mode == NOT_COMPILED:
        _ceilings(network.name, batch, step, results)
    ceiling = results.median(_ceiling_name(network.name, mode))
    if ceiling:
        for each in seconds:
            results.figures.add(f"{figure}_share", batch / each / ceiling, "of the ceiling that was computed for it")


def _step(context: Context, network: Measured, mode: str, images: int) -> Callable[[], object]:
    config = Config(
        data=DataConfig(classes=CLASSES, image_size=network.image_size),
        model=network.model,
        optim=SGDConfig(lr=1e-4),
        training=TrainingConfig(batch_size=images, compile=mode, max_batch_per_worker=images),
    )
    device = context.device
    set_arithmetic(config.training, device)
    made = build(config.model, CLASSES, network.image_size, seed=0).to(device).to(memory_format=torch.channels_last)
    run = as_run(made.train(), config.training, context.worker)
    optimizer, pixels = optimiser(made, config.optim), Pixels(config.data, device)
    compilation = Compilation(mode, context.worker, Progress())
    batch: Batch = on_device(made_batch(images, network.image_size, config.transforms, seed=0), device)
    step_config, dtype = StepConfig.of(config), autocast_dtype(config.training.precision, device)

    def step() -> None:
        with compilation.step(batch):
            train_step(run, optimizer, batch, pixels, step_config, dtype, world=1)

    return step


def _ceilings(name: str, batch: int, step: Callable[[], object], results: Results) -> None:
    copied, multiplied = results.median(COPY), results.median(PRODUCT)
    work = work_of(step)
    add = results.figures.add
    add(f"work.{name}.mb", work.bytes_moved / batch / 1e6, "MB an image that operators move one by one")
    add(f"work.{name}.joined_mb", work.joined_bytes / batch / 1e6, "MB an image at least, pointwise operators joined")
    add(f"work.{name}.gflop", work.flop / batch / 1e9, "GFLOP an image, forward and backward")
    if copied is None or multiplied is None:
        return
    for mode in (NOT_COMPILED, DEFAULT_MODE):
        seconds = work.seconds(copied * 1e12, multiplied * 1e12, joined=mode != NOT_COMPILED)
        add(_ceiling_name(name, mode), batch / seconds, "images/s at best, from the roofline and the work")


def _ceiling_name(name: str, mode: str) -> str:
    return f"ceiling.{name}.{'eager' if mode == NOT_COMPILED else 'compiled'}_images_per_s"
