"""Six narrow networks in one step over the same six one after another: `platform.bench` measures it."""

from dataclasses import replace

from platform.bench import fused as bench_fused
from platform.config.data import DataConfig
from platform.config.jobs import BenchConfig
from platform.config.sections import Config
from platform.config.training import TrainingConfig
from platform.gpu_check.context import Context
from platform.gpu_check.results import Results
from platform.gpu_check.sizes import NARROW
from platform.gpu_check.trainings import CLASSES, made_batch, on_device


def fused(context: Context, results: Results) -> None:
    """`step.fused_over_separate`, above 1 where it is a gain."""
    side, images = context.sizes.fused_side, context.sizes.fused_batch
    config = Config(
        data=DataConfig(classes=CLASSES, image_size=side),
        model=replace(NARROW),
        training=TrainingConfig(batch_size=images),
        bench=BenchConfig(repeats=context.sizes.repeats),
    )
    batches = [
        on_device(made_batch(images, side, config.transforms, seed), context.device)
        for seed in range(bench_fused.MEMBERS)
    ]
    bench_fused.measure(config, batches, context.device, results.figures)
