"""The paper's table: 1 and N models x 1, 10 and 144 crops, then the alternatives that it tried and left.

In: scores, and what `table` says. Out: the rows. Where the members themselves are the rows, they are in `rows`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from platform.config.table import PaperFigures, TableConfig
from platform.evaluation.images import ImageResults, read_images
from platform.evaluation.method import Method
from platform.evaluation.metrics import Scores
from platform.evaluation.rows import RowTable, row_table
from platform.evaluation.statistics.intervals import UNKNOWN, Interval
from platform.evaluation.summary import Summary


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
    table: TableConfig = field(default_factory=TableConfig, compare=False)  # for the paper's figures
    left_out: list[str] = field(default_factory=list)  # what is not in the table, or approximate, and why
    compared: RowTable | None = field(default=None, compare=False)  # None: the members are an ensemble, and no rows


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
    paper: PaperFigures

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
        table.append(_row(scores, 1, views, "mean of the members" if members > 1 else "", mean, interval))
    if members > 1:
        for views, sums in scores.ensemble.items():
            interval = summary.ensemble_errors[views] if summary else UNKNOWN
            table.append(_row(scores, members, views, "", sums.rates(), interval))
    most = max(scores.ensemble)
    alternatives = list(scores.alternatives.items())[: 1 if members == 1 else None]
    for note, sums in alternatives if most > 1 else []:
        interval = summary.alternative_errors[note] if summary else UNKNOWN
        table.append(_row(scores, members, most, note, sums.rates(), interval))
    return table


def paper_columns(table: Sequence[Row]) -> dict[str, list[float | None]]:
    """Head -> the paper's errors, a row each; columns of which it has none are left out."""
    papers = {
        "paper top-1": [row.paper.top1_error for row in table],
        "paper top-5": [row.paper.top5_error for row in table],
    }
    return {head: errors for head, errors in papers.items() if any(error is not None for error in errors)}


def with_table(scores: EnsembleScores, table: TableConfig, names: Sequence[str], images_file: Path) -> EnsembleScores:
    """The scores with the paper's figures beside them and, where the members are rows, how these compare.

    Args:
        scores: of the finished members.
        table: of the experiment.
        names: all of its members, in their order.
        images_file: where what was said of each image is kept, unless the scores have it.

    Raises:
        ConfigError: the file is damaged.
    """
    found = replace(scores, table=table)
    if table.has_rows and (images := scores.images or read_images(images_file)):
        found.compared = row_table(table, names, images, scores.members)
    return found


def _row(
    scores: EnsembleScores, models: int, crops: int, note: str, rates: dict[str, float], interval: Interval
) -> Row:
    is_papers = note in ("", "mean of the members")
    paper = scores.table.figures(f"{models}x{crops}") if is_papers else PaperFigures()
    return Row(models, crops, note, 1 - rates["top1"], interval, 1 - rates["top5"], rates["loss"], paper)
