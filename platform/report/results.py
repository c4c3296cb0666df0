"""The answer in a sentence or two, and the tables that it rests on: those of the terminal.

In: scores with their summary. Out: text and tables.
"""

from collections.abc import Mapping

from platform.evaluation import method_table, row_text
from platform.evaluation.member_table import NOTES, cells, headings, member_lines
from platform.evaluation.report import IMAGES_OF, INTERVAL, percent, verdict_of
from platform.evaluation.table import EnsembleScores, Row, paper_columns, rows
from platform.evaluation.verdict import interval_text
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
    if table := scores.compared:
        lines = [row_text.cells(row, table) for row in table.rows]
        said = [f"{scores.samples:,} {IMAGES_OF[split]} images, {table.views} crop{'s' * (table.views > 1)}."]
        said += [f"{note[0].upper()}{note[1:]}" if not note.startswith("p") else note for note in row_text.notes(table)]
        said += scores.left_out
        return Section("results", TITLE, said, [Table(row_text.headings(table), lines)])
    notes = [f"{scores.samples:,} {IMAGES_OF[split]} images; cost: forward passes for an image."]
    found = rows(scores)
    shown = paper_columns(found)
    lines = [
        [*_cells(row, scores), *(percent(errors[number]) for errors in shown.values())]
        for number, row in enumerate(found)
    ]
    tables = [Table((*COLUMNS, *shown), lines)]
    if scores.summary and len(scores.names) > 1:
        summary = scores.summary
        lines = [cells(line, summary) for line in member_lines(scores, summary)]
        tables.append(Table(headings(summary, list(scores.ensemble)), lines, words=(1,)))
        said = " ".join(f"{note[0].upper()}{note[1:]}" if not note.startswith("p ") else note for note in NOTES)
        notes.append(f"Members are best first with {summary.views} crop{'s' * (summary.views > 1)}. {said}")
    else:
        notes.append(INTERVAL)
    notes += scores.left_out
    if scores.methods:
        tables.append(Table(method_table.HEADINGS, [*map(method_table.cells, scores.methods)]))
        notes.append(f"{method_table.TITLE}: {' '.join(method_table.notes(scores.methods))}")
        notes += [" ".join(found)] if (found := method_table.details(scores.methods)) else []
    return Section("results", TITLE, notes, tables)


def _cells(row: Row, scores: EnsembleScores) -> list[str]:
    said = row.note or ("ensemble" if row.models > 1 else scores.names[0])
    errors = [percent(row.top1_error), interval_text(row.interval), percent(row.top5_error), f"{row.loss:.4f}"]
    return [said, str(row.models), str(row.crops), str(row.cost), *errors]
