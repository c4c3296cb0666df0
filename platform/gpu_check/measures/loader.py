"""Images a second of the loader alone, of a whole training on shards, and of decoding on the device."""

from dataclasses import replace

from platform.config.evaluation import EvaluationConfig
from platform.config.optim import SGDConfig
from platform.config.sections import Config
from platform.config.training import CheckpointConfig, TrainingConfig
from platform.data.order import steps_per_epoch
from platform.data.sets import training_split
from platform.data.training_order import training_order
from platform.gpu_check.checks.compiled import require_compiling
from platform.gpu_check.checks.decoding import decoded_on
from platform.gpu_check.context import Context, installed
from platform.gpu_check.measures.timing import seconds_of_a_call
from platform.gpu_check.results import NotHere, Results
from platform.gpu_check.sizes import Measured
from platform.training.feed import training_loader
from platform.training.loop import train

READINGS = 5  # of a training's metrics, after one that has warmed up
BATCHES = 16  # that are read in a call
DECODED = 64  # images in a call


def loader(context: Context, results: Results) -> None:
    """The loader alone, as the first measured network needs it."""
    config = _config(context)
    split = context.shards(config.data.image_size).index.split("train")
    order = training_order(config, split)

    def read() -> None:
        for _ in loading.steps(0, BATCHES):
            pass

    with training_loader(config, split, order, context.worker) as loading:
        meaning = f"{decoder()}, {context.worker.threads} threads, {config.data.image_size} px"
        for seconds in seconds_of_a_call(context, read):
            results.figures.add("loader.images_per_s", BATCHES * config.training.batch_size / seconds, meaning)


def loop(context: Context, results: Results) -> None:
    """A whole training from shards, compiled where that can be done: its images a second, and its wait for data."""
    config, mode = _config(context), "off"
    if context.on_gpu:
        try:
            require_compiling(context, "default")
            mode = "default"
        except NotHere as reason:
            results.leave_out("a compiled training from shards", str(reason))
    config = replace(config, training=replace(config.training, compile=mode))
    readings: list[dict[str, float]] = []

    def report(step: int, metrics: dict[str, float]) -> None:
        if "train/images_per_s" in metrics:
            readings.append(metrics)

    index = context.shards(config.data.image_size).index
    train(config, index, context.worker, context.folder / "loop", report)
    meaning = f"a training from shards, {config.data.image_size} px, training.compile={mode}, {decoder()}"
    for metrics in readings[1:]:
        results.figures.add("loop.images_per_s", metrics["train/images_per_s"], meaning)
        results.figures.add("loop.wait_share", metrics["data/wait_share"], "of its time waiting for data")


def device_decoding(context: Context, results: Results) -> None:
    """Whole images in a call; nothing else runs on the device meanwhile."""
    context.require_gpu("threads of the loader decode")
    split = context.shards(context.sizes.measured[0].image_size).index.split("train")
    encoded = [bytes(split.read(number % split.samples).image) for number in range(DECODED)]
    name, _ = decoded_on(context, encoded)
    for seconds in seconds_of_a_call(context, lambda: decoded_on(context, encoded)):
        results.figures.add("decode.images_per_s", DECODED / seconds, f"{name}, {DECODED} whole images in a call")


def decoder() -> str:
    """What decodes JPEGs on the CPU here."""
    return "decoded by nvImageCodec" if installed("nvidia.nvimgcodec") else "decoded by Pillow"


def _config(context: Context) -> Config:
    network: Measured = context.sizes.measured[0]
    packed = context.shards(network.image_size)
    steps = context.sizes.loop_steps
    samples = training_split(packed.index, packed.data).samples
    batch = min(network.batch, samples // 8 * 8)
    every = max(1, steps // (READINGS + 1))
    return Config(
        data=packed.data,
        model=network.model,
        optim=SGDConfig(lr=1e-4),
        training=TrainingConfig(
            epochs=steps / steps_per_epoch(samples, 8, batch),
            batch_size=batch,
            max_batch_per_worker=batch,
            log_every_steps=every,
        ),
        checkpoint=CheckpointConfig(every_s=1e6),
        evaluation=EvaluationConfig(views=[1], every_epochs=0),
    )
