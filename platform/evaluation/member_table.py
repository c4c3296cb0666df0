"""The members of an ensemble, best first, with how sure that order is: as a table, and how often they disagree.

In: scores with their summary. Out: cells for a terminal and Markdown, and lines of `members.csv`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from platform.evaluation.statistics.paired import Paired
from platform.evaluation.summary import Summary
from platform.evaluation.table import EnsembleScores
from platform.evaluation.verdict import interval_text

NOTES = (
    "95% interval: of the top-1 error over images, Wilson's; of the members' mean a bootstrap's.",
    "p next: exact McNemar test against the member below, with Holm's correction; under 0.05 it is more than noise.",
    "gain: points of top-1 that the ensemble loses without the member; p gain: the same test of that.",
    "ECE: 15 bins of equal width; Brier: sum over classes, 0 to 2; NLL: mean negative log-likelihood.",
)
CSV_HEADINGS = ("member", "rank", "top1_error_low", "top1_error_high", "ece", "brier", "nll")
CSV_TESTS = ("p_next", "p_next_holm", "gain", "gain_low", "gain_high", "p_gain", "p_gain_holm")


@dataclass(frozen=True)
class Line:
    """A member."""

    rank: int  # 1: the best; the same for equal errors
    name: str
    errors: dict[int, float]  # number of views -> top-1 error
    next: Paired | None  # against the next in the ranking; None: it is the last
    gain: Paired  # of the ensemble against the one without it


def member_lines(scores: EnsembleScores, summary: Summary) -> Iterator[Line]:
    """The members, best first."""
    wrong = [summary.members[name].wrong for name in summary.ranking]
    for name, tested in zip(summary.ranking, [*summary.neighbours, None], strict=True):
        errors = {views: 1 - each.rates()["top1"] for views, each in scores.members[name].items()}
        rank = wrong.index(summary.members[name].wrong) + 1
        yield Line(rank, name, errors, tested, summary.gains[name])


def headings(summary: Summary, views: list[int]) -> list[str]:
    """The heads of the columns that `cells` fills."""
    crops = [f"{count} crop{'s' * (count > 1)}" for count in views]
    return ["", "member", *crops, "95% interval", "p next", "ECE", "Brier", "NLL", "gain", "p gain"]


def cells(line: Line, summary: Summary) -> list[str]:
    """A member as text."""
    figures = summary.members[line.name]
    return [
        str(line.rank),
        line.name,
        *(f"{100 * error:.2f}%" for error in line.errors.values()),
        interval_text(figures.interval),
        short_p(line.next.p_holm) if line.next else "",
        f"{figures.ece:.3f}",
        f"{figures.brier:.3f}",
        f"{figures.nll:.3f}",
        f"{100 * line.gain.difference:+.2f}",
        short_p(line.gain.p_holm),
    ]


def short_p(p: float) -> str:
    """A p-value for a column."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def disagreement_cells(summary: Summary) -> list[list[str]]:
    """Head and rows of the matrix: in how many per cent of the images two members predict different classes."""
    names = list(summary.members)
    shares = [[f"{100 * share:.2f}" for share in row] for row in summary.disagreement]
    for place in range(len(names)):
        shares[place][place] = ""
    return [["differ, %", *names], *([name, *row] for name, row in zip(names, shares, strict=True))]


def csv_rows(scores: EnsembleScores, summary: Summary) -> Iterator[list[object]]:
    """The head and lines of `members.csv`, unrounded; errors and gains are shares of one."""
    errors = [f"top1_error_{views}_view{'s' * (views > 1)}" for views in scores.ensemble]
    yield [*CSV_HEADINGS, *CSV_TESTS, *errors]
    for line in member_lines(scores, summary):
        figures, gain = summary.members[line.name], line.gain
        own = [figures.interval.low, figures.interval.high, figures.ece, figures.brier, figures.nll]
        ps = [line.next.p, line.next.p_holm] if line.next else [None, None]
        gains = [gain.difference, gain.interval.low, gain.interval.high, gain.p, gain.p_holm]
        yield [line.name, line.rank, *own, *ps, *gains, *line.errors.values()]
