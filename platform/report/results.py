"""The answer in one sentence with how sure it is, and the tables that it rests on.

In: scores and their summary. Out: text, and tables of errors with 95% intervals, paired tests and calibration.
"""

from collections.abc import Mapping

from platform.evaluation.metrics import Scores
from platform.evaluation.report import IMAGES_OF, percent
from platform.evaluation.statistics.intervals import Interval, wilson
from platform.evaluation.statistics.paired import Paired
from platform.evaluation.summary import Figures, Summary
from platform.evaluation.table import EnsembleScores, rows
from platform.report.section import Section, Table
from platform.text import one_line

TITLE = "Results"


def verdict(scores: EnsembleScores | None, split: str) -> str:
    """What came of the experiment, in one sentence."""
    if scores is None:
        return "No member is finished, so there are no scores."
    views = max(scores.ensemble)
    summary, ensemble = scores.summary, scores.ensemble[views]
    if not ensemble.samples:
        return "No image could be decoded, so there are no scores."
    on = f"of {ensemble.samples:,} {IMAGES_OF[split]} images at {views} crop{'s' * (views > 1)}"
    if len(scores.names) == 1:
        return f"The model errs on {_with_interval(ensemble)} {on}."
    best = summary.best if summary else max(scores.names, key=lambda name: scores.members[name][views].top1)
    whole = f"The ensemble of {len(scores.names)} errs on {_with_interval(ensemble)} {on}"
    said = f"{whole}, its best member, {best}, on {_with_interval(scores.members[best][views])}"
    return f"{said}: {_compared(summary.against_best)}." if summary and summary.against_best else f"{said}."


def _compared(against: Paired) -> str:
    """How sure it is that the first, the ensemble, is better than the second."""
    errors, how = against.first - against.second, f"exact McNemar test, p {_p(against.p)}"
    if not errors:
        return f"the ensemble makes as many errors ({how})"
    many = f"the ensemble makes {abs(errors):,} error{'s' * (abs(errors) > 1)} {'fewer' if errors > 0 else 'more'}"
    return f"{many}, which {'is beyond' if against.is_significant else 'may be'} noise ({how})"


def cautions(scores: EnsembleScores | None, errors: Mapping[str, str]) -> list[str]:
    """What whoever reads the verdict should know.

    Args:
        scores: of the finished members.
        errors: member that is not finished -> what it met.
    """
    said = [f"Without {name}, which is not finished: {one_line(error)}" for name, error in errors.items()]
    corrupt = next(iter(scores.ensemble.values())).corrupt if scores else 0
    return [*said, f"{corrupt:,} images could not be decoded and are in no figure."] if corrupt else said


def section(scores: EnsembleScores) -> Section:
    """The section of the tables."""
    notes = ["In brackets: 95% intervals over images, of a mean of members by bootstrap, otherwise Wilson's."]
    if scores.summary is None or len(scores.names) == 1:
        return Section("results", TITLE, notes, [_paper_table(scores)])
    notes.append(
        f"Members are ranked at {scores.summary.views} crop(s). p against the next: exact McNemar test on the same "
        "images, with Holm's correction; below 0.05 the difference is beyond noise. Gain: by how many points the "
        "ensemble is better than without the member. ECE, Brier score and NLL: of the probabilities; less is better."
    )
    return Section("results", TITLE, notes, [_paper_table(scores), _members(scores, scores.summary)])


def _paper_table(scores: EnsembleScores) -> Table:
    lines = []
    for row in rows(scores):
        known = scores.ensemble.get(row.crops) if row.models > 1 and not row.note else None
        interval = _mean_interval(scores, row.crops) if row.models == 1 else None
        top1 = _with_interval(known) if known else f"{percent(row.top1_error)}{_brackets(interval)}"
        paper = percent(row.paper_top5_error) if row.paper_top5_error is not None else ""
        said = row.note or ("ensemble" if row.models > 1 else scores.names[0])
        figures = [str(row.models), str(row.crops), top1, percent(row.top5_error), f"{row.loss:.4f}", paper]
        lines.append([said, *figures])
    return Table(["", "models", "crops", "top-1 error", "top-5 error", "loss", "paper, top-5 on ImageNet"], lines)


def _mean_interval(scores: EnsembleScores, views: int) -> Interval | None:
    return scores.summary.mean_errors.get(views) if scores.summary else None


def _members(scores: EnsembleScores, summary: Summary) -> Table:
    """The members best first, each against the next, with what it gives to the ensemble."""
    whole = map(_with_interval, scores.ensemble.values())
    lines = [["ensemble", *whole, *_calibration(summary.ensemble), "", ""]]
    for place, name in enumerate(summary.ranking):
        next_p = _p(summary.neighbours[place].p_holm) if place < len(summary.neighbours) else ""
        gain = summary.gains[name]
        gained = f"{100 * gain.difference:+.2f} (p {_p(gain.p_holm)})"
        errors = map(_with_interval, scores.members[name].values())
        lines.append([name, *errors, *_calibration(summary.members[name]), next_p, gained])
    crops = [f"{views} crop{'s' * (views > 1)}" for views in scores.ensemble]
    columns = ["top-1 error, best first", *crops, "ECE", "Brier", "NLL", "p against the next", "gain, points"]
    return Table(columns, lines, strong=(0,))


def _calibration(of: Figures) -> list[str]:
    return [f"{of.ece:.4f}", f"{of.brier:.4f}", f"{of.nll:.4f}"]


def _with_interval(each: Scores) -> str:
    wrong = each.samples - each.top1
    if not each.samples:
        return "unknown"
    return f"{percent(wrong / each.samples)}{_brackets(wilson(wrong, each.samples))}"


def _brackets(interval: Interval | None) -> str:
    return f" ({100 * interval.low:.2f} to {100 * interval.high:.2f})" if interval else ""


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
