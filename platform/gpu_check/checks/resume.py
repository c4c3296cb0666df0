"""A training that is interrupted and resumed ends as one that was not, on this device.

To the last bit where the device computes the same bits twice; elsewhere two undisturbed trainings say how far apart
chance puts them, and the resumed one may be no farther than ten times that.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from platform.config.evaluation import EvaluationConfig
from platform.config.models import GoogLeNetConfig
from platform.config.optim import SGDConfig
from platform.config.sampling import SamplingConfig
from platform.config.sections import Config
from platform.config.training import CheckpointConfig, TrainingConfig
from platform.data.order import steps_per_epoch
from platform.gpu_check.context import Context
from platform.gpu_check.difference import Difference, relative, same_bits
from platform.gpu_check.results import Results
from platform.training.loop import train

STEPS, SAVED_AFTER, STOPPED_AFTER = 8, 4, 6
BATCH, STREAMS = 8, 8
FLOOR = 1e-6  # of what two trainings that are not bitwise equal may differ by
Report = Callable[[int, dict[str, float]], None]


class _Interrupted(Exception):
    """What ends a training here."""


def resume(context: Context, results: Results) -> None:
    """Weights at the end, undisturbed twice and resumed once."""
    config, folder = training_of(context), context.folder
    deterministic = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    try:
        first, second = (_train(context, config, folder / f"undisturbed{turn}", _nothing) for turn in range(2))
        resumed = _resumed(context, config, folder / "interrupted")
    finally:
        torch.backends.cudnn.deterministic = deterministic
    if same_bits(first, second):
        difference = 0.0 if same_bits(resumed, first) else max(relative(resumed.values(), first.values()), 1e-30)
        results.compare("resumed = undisturbed", [Difference("weights", difference, 0.0)], "to the last bit")
        return
    apart = relative(second.values(), first.values())
    results.compare(
        "resumed = undisturbed",
        [Difference("weights", relative(resumed.values(), first.values()), max(10 * apart, FLOOR))],
        f"two undisturbed trainings differ by {apart:.1e}: sums on this device have no fixed order",
    )


def training_of(context: Context) -> Config:
    """A short training with everything random switched on, that saves once."""
    packed = context.shards(context.sizes.small_side)
    in_epoch = steps_per_epoch(packed.index.split("train").samples, STREAMS, BATCH)
    return Config(
        data=packed.data,
        sampling=SamplingConfig(photometric=True, interpolation="random"),
        model=GoogLeNetConfig(width=0.1),
        optim=SGDConfig(lr=0.01),
        training=TrainingConfig(
            epochs=STEPS / in_epoch,
            batch_size=BATCH,
            precision="float32",
            tf32="off",
            autotune=False,
            log_every_steps=1,
        ),
        checkpoint=CheckpointConfig(every_s=1e6, every_steps=SAVED_AFTER),
        evaluation=EvaluationConfig(views=[1], every_epochs=0),
    )


def _resumed(context: Context, config: Config, folder: Path) -> dict[str, Tensor]:
    def stop(step: int, metrics: dict[str, float]) -> None:
        if step == STOPPED_AFTER:
            raise _Interrupted

    try:
        _train(context, config, folder, stop)
    except _Interrupted:
        reports: list[int] = []
        weights = _train(context, config, folder, lambda step, _: reports.append(step))
        if reports[0] == SAVED_AFTER + 1:
            return weights
        raise RuntimeError(f"it went on at step {reports[0]} instead of {SAVED_AFTER + 1}") from None
    raise RuntimeError(f"the training was not interrupted after step {STOPPED_AFTER}")


def _train(context: Context, config: Config, folder: Path, report: Report) -> dict[str, Tensor]:
    network = train(config, context.shards(context.sizes.small_side).index, context.worker, folder, report)
    return {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}


def _nothing(step: int, metrics: dict[str, float]) -> None:
    """A report to nobody."""
