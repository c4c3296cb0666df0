"""What MLflow is told of a member that is neither a score nor a setting: its mean speed, its data, what came between.

In: the series of its metrics, its attempts, the index of its data. Out: metrics, data sets, and a line of text.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from platform.config.sections import Config
from platform.data.index import Index
from platform.experiment.goodput import Attempt
from platform.tracking.operations import DatasetInput

STOPPED, BEST = "stopped_epoch", "best_epoch"  # of early stopping, and of training.weights=best
SPEED = "train/images_per_s"
CONTEXTS = {"train": "training", "val": "validation", "test": "test"}  # MLflow's words for splits
# How attempts end that nothing interrupted, as workers and schedulers say it.
ORDINARY = re.compile(r"(finished|diverged|failed|left by )|stopped$")
SHOWN = 20  # interruptions in a tag

Series = Sequence[tuple[int, dict[str, float], float]]


def speed(series: Series) -> dict[str, float]:
    """The mean images/s of a training as a metric: all images over all seconds of training, without evaluations.

    Args:
        series: (step, metrics, seconds since the epoch); steps that were trained twice count once, as the last time.
    """
    speeds = {step: metrics[SPEED] for step, metrics, _ in series if metrics.get(SPEED)}
    images = seconds = 0.0
    before = 0
    for step in sorted(speeds):
        images += step - before  # in batches, as all are of one size
        seconds += (step - before) / speeds[step]
        before = step
    return {"speed_images_per_s": images / seconds} if seconds else {}


def ended_by_scores(name: str, series: Series) -> str:
    """A sentence on a member whose end, or whose weights, were chosen by validation scores; empty of others."""
    found = {key: value for _, metrics, _ in series for key, value in metrics.items() if key in (STOPPED, BEST)}
    stopped = f"stopped early at epoch {found[STOPPED]:g}" if STOPPED in found else ""
    best = f"has the weights of epoch {found[BEST]:g}, the best on validation" if BEST in found else ""
    if not found:
        return ""
    return f"{name} {' and '.join(filter(None, [stopped, best]))}: validation scores are optimistic where they choose."


def datasets(config: Config, data: Index, split: str) -> list[DatasetInput]:
    """The training images, those of each further set, and those of the evaluated split as data sets of MLflow's."""
    names = [config.data.name, *config.data.others]
    indexes = [data, *(data.also[name] for name in config.data.others)]
    found = [
        _dataset(config, name, index, "train", {"weight": weight} if config.data.also else {})
        for name, index, weight in zip(names, indexes, config.data.weights, strict=True)
    ]
    return [*found, _dataset(config, config.data.name, data, split, {})]


def _dataset(config: Config, name: str, data: Index, split: str, more: dict[str, Any]) -> DatasetInput:
    part = data.split(split)
    profile = {
        "images": part.samples,
        "shards": len(part.shards),
        "classes": config.data.classes,
        "packed_from": data.packing.get("source"),
    }
    return DatasetInput(f"{name} {split}", part.digest, data.url, profile | more, CONTEXTS[split])


def interruptions(attempts_of: Mapping[str, Sequence[Attempt]]) -> str:
    """Every attempt of every member that something ended before its time: `MEMBER: REASON; ...`; empty: there is none.

    Args:
        attempts_of: member -> its attempts, in order.
    """
    found = [
        f"{member}, attempt {number}: {attempt.reason}"
        for member, attempts in attempts_of.items()
        for number, attempt in enumerate(attempts, 1)
        if attempt.reason and not ORDINARY.match(attempt.reason)
    ]
    left_out = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return "; ".join(found[:SHOWN]) + left_out
