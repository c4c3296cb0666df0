"""The answer in a sentence or two, and the tables that it rests on: those of the terminal.

In: scores with their summary. Out: text and tables.
"""

from collections.abc import Mapping

from platform.evaluation import method_table
from platform.evaluation.member_table import NOTES, cells, headings, member_lines
from platform.evaluation.report import IMAGES_OF, INTERVAL, percent
from platform.evaluation.table import EnsembleScores, Row, rows
from platform.evaluation.verdict import interval_text, verdict_of
from platform.report.section import Section, Table
from platform.text import one_line

TITLE = "Results"
COLUMNS = (
    "",
    "models",
    "crops",
    "cost",
    "top-1 error",
    "95% interval",
    "top-5 error",
    "loss",
    "paper (top-5, ImageNet)",
)


def verdict(scores: EnsembleScores | None) -> str:
    """What came of the experiment, and how sure that is."""
    if scores is None:
        return "No member is finished, so there are no scores."
    return verdict_of(scores) if scores.summary else "How sure the scores are was not computed."


def cautions(scores: EnsembleScores | None, errors: Mapping[str, str]) -> list[str]:
    """What whoever reads the verdict should know.

    Args:
        scores: of the finished members.
        errors: member that is not finished -> what it met.
    """
    said = [f"Without {name}, which is not finished: {one_line(error)}" for name, error in errors.items()]
    corrupt = next(iter(scores.ensemble.values())).corrupt if scores else 0
    return [*said, f"{corrupt:,} images could not be decoded and are in no figure."] if corrupt else said


def section(scores: EnsembleScores, split: str) -> Section:
    """The section of the tables."""
    notes = [f"{scores.samples:,} {IMAGES_OF[split]} images; cost: forward passes for an image."]
    tables = [Table(COLUMNS, [_cells(row, scores) for row in rows(scores)])]
    if scores.summary and len(scores.names) > 1:
        summary = scores.summary
        lines = [cells(line, summary) for line in member_lines(scores, summary)]
        tables.append(Table(headings(summary, list(scores.ensemble)), lines, words=(1,)))
        said = " ".join(f"{note[0].upper()}{note[1:]}" if not note.startswith("p ") else note for note in NOTES)
        notes.append(f"Members are best first with {summary.views} crop{'s' * (summary.views > 1)}. {said}")
    else:
        notes.append(INTERVAL)
    if scores.methods:
        tables.append(Table(method_table.HEADINGS, [*map(method_table.cells, scores.methods)]))
        notes.append(f"{method_table.TITLE}: {' '.join(method_table.notes(scores.methods))}")
        notes += [" ".join(found)] if (found := method_table.details(scores.methods)) else []
    return Section("results", TITLE, notes, tables)


def _cells(row: Row, scores: EnsembleScores) -> list[str]:
    paper = percent(row.paper_top5_error) if row.paper_top5_error is not None else ""
    said = row.note or ("ensemble" if row.models > 1 else scores.names[0])
    errors = [percent(row.top1_error), interval_text(row.interval), percent(row.top5_error), f"{row.loss:.4f}", paper]
    return [said, str(row.models), str(row.crops), str(row.cost), *errors]
