"""The paper's table: 1 and N models x 1, 10 and 144 crops, then the alternatives that it tried and left."""

from dataclasses import dataclass, field

from platform.evaluation.images import ImageResults
from platform.evaluation.method import Method
from platform.evaluation.metrics import Scores
from platform.evaluation.statistics.intervals import UNKNOWN, Interval
from platform.evaluation.summary import Summary

# GD, table of test errors: (models, crops) -> top-5 error on ImageNet's validation set.
PAPER_TOP5_ERROR = {
    (1, 1): 0.1007,
    (1, 10): 0.0915,
    (1, 144): 0.0789,
    (7, 1): 0.0809,
    (7, 10): 0.0762,
    (7, 144): 0.0667,
}


@dataclass
class EnsembleScores:
    """What the table is made of; keys of the inner dicts are numbers of views."""

    names: list[str]
    samples: int
    members: dict[str, dict[int, Scores]] = field(default_factory=dict)
    ensemble: dict[int, Scores] = field(default_factory=dict)
    alternatives: dict[str, Scores] = field(default_factory=dict)  # at the largest number of views
    summary: Summary | None = None  # how sure they are; None: not computed
    images: ImageResults | None = field(default=None, compare=False, repr=False)  # None: in images.npz only
    methods: list[Method] = field(default_factory=list, compare=False)  # beyond the paper's; empty: not asked for


@dataclass(frozen=True)
class Row:
    """One line of the table. Errors are shares of the samples."""

    models: int
    crops: int
    note: str
    top1_error: float
    interval: Interval  # of it, 95%
    top5_error: float
    loss: float
    paper_top5_error: float | None

    @property
    def cost(self) -> int:
        """Forward passes for an image."""
        return self.models * self.crops


def rows(scores: EnsembleScores) -> list[Row]:
    """The table: single models (the members' mean), the ensemble, then the alternatives; of a single model its own rows
    and the one alternative that it has, as its mean over models is itself."""
    members, summary, table = len(scores.names), scores.summary, []
    for views in scores.ensemble:
        each = [member[views].rates() for member in scores.members.values()]
        mean = {key: sum(rates[key] for rates in each) / len(each) for key in each[0]}
        interval = summary.mean_errors[views] if summary else UNKNOWN
        table.append(_row(1, views, "mean of the members" if members > 1 else "", mean, interval))
    if members > 1:
        for views, sums in scores.ensemble.items():
            interval = summary.ensemble_errors[views] if summary else UNKNOWN
            table.append(_row(members, views, "", sums.rates(), interval))
    most = max(scores.ensemble)
    alternatives = list(scores.alternatives.items())[: 1 if members == 1 else None]
    for note, sums in alternatives if most > 1 else []:
        interval = summary.alternative_errors[note] if summary else UNKNOWN
        table.append(_row(members, most, note, sums.rates(), interval))
    return table


def _row(models: int, crops: int, note: str, rates: dict[str, float], interval: Interval) -> Row:
    paper = PAPER_TOP5_ERROR.get((models, crops)) if note in ("", "mean of the members") else None
    return Row(models, crops, note, 1 - rates["top1"], interval, 1 - rates["top5"], rates["loss"], paper)
