"""A way of getting from networks and images to classes that is not in the paper's table, with how good it is.

In: figures. Out: a record of them, and MLflow metrics.
"""

import math
from dataclasses import dataclass
from typing import Any, Self

from platform.evaluation.metrics import Scores
from platform.evaluation.statistics.intervals import Interval
from platform.evaluation.statistics.paired import Paired

PLAIN, WHOLE, SNAPSHOTS = "plain", "whole_images", "snapshots"
TEACHER, TEACHERS_BEST, ONE_CROP = "teacher", "teachers_best", "one_crop"  # of what was distilled


def kind_of(network: str) -> str:
    """The row that a further network of a training counts in: its own, or that of all snapshots."""
    return SNAPSHOTS if network.startswith("cycle") else network


@dataclass(frozen=True)
class Method:
    """A way of getting from networks and images to classes, and how good it is."""

    name: str  # of its metrics
    said: str  # what was done, for the table
    networks: int
    cost: float  # forward passes of a crop for an image, by multiply-adds
    scores: Scores
    interval: Interval  # of the top-1 error, Wilson's
    ece: float
    against: Paired | None  # the plain mean of all members and crops; None: it is that
    detail: str = ""  # what was chosen, for below the table

    @classmethod
    def of_json(cls, content: dict[str, Any]) -> Self:
        """The inverse of `dataclasses.asdict`.

        Raises:
            ValueError: or KeyError, TypeError, AttributeError: it is none.
        """
        against = content["against"]
        return cls(
            **content
            | {
                "scores": Scores(**content["scores"]),
                "interval": Interval(**content["interval"]),
                "against": Paired(**against | {"interval": Interval(**against["interval"])}) if against else None,
            }
        )


def metrics(methods: list[Method], split: str) -> dict[str, float]:
    """As MLflow metrics: `method_val_greedy_top1`, `_top1_low`, `_top1_high`, `_loss`, `_ece`, `_cost`, and against the
    plain mean `_gain` (a share of one) and `_gain_p`. What is no number is left out."""
    found: dict[str, float] = {}
    for each in methods:
        rates = each.scores.rates()
        figures = {
            "top1": rates["top1"],
            "top1_low": 1 - each.interval.high,
            "top1_high": 1 - each.interval.low,
            "loss": rates["loss"],
            "ece": each.ece,
            "cost": each.cost,
        }
        if each.against:
            figures |= {"gain": each.against.difference, "gain_p": each.against.p_holm}
        found |= {f"method_{split}_{each.name}_{key}": value for key, value in figures.items() if math.isfinite(value)}
    return found
