"""The table as text, Markdown, CSV and a picture: of an ensemble and its members, or of rows that are compared."""

import csv
import io
import math
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from platform.config.tracking import TrackingConfig
from platform.evaluation import method, method_table, row_text
from platform.evaluation.member_table import NOTES, cells, csv_rows, disagreement_cells, headings, member_lines
from platform.evaluation.metrics import Scores
from platform.evaluation.row_picture import row_picture
from platform.evaluation.rows import RowTable
from platform.evaluation.statistics.intervals import wilson
from platform.evaluation.summary import Summary
from platform.evaluation.table import EnsembleScores, Row, paper_columns, rows
from platform.evaluation.text_table import WIDTH, markdown, terminal
from platform.evaluation.verdict import fewer_crops, interval_text, verdict

HEADINGS = ["models", "crops", "cost", "top-1 error", "95% interval", "top-5 error", "loss"]
CSV_HEADINGS = ["models", "crops", "cost", "top1_error", "top1_error_low", "top1_error_high", "top5_error", "loss"]
CSV_HEADINGS += ["paper_top1_error", "paper_top5_error", "note"]
MEMBERS = "Members, best first by the largest number of crops: top-1 error"
INTERVAL = "95% interval: of the top-1 error over images, Wilson's."
PAPER = "paper: its errors, on its images."
# Of members: far apart, for the colour-blind too, as in a report's pictures; more than seven have other markers.
COLOURS = ("#0000e0", "#e06000", "#40a0a0", "#a060e0", "#802000", "#600080", "#c08060")
MARKERS = ("o", "v", "D")
IMAGES_OF = {"val": "validation", "test": "test"}


def verdict_of(scores: EnsembleScores) -> str:
    """What the scores say in a sentence or two, of an ensemble or a single model also whether fewer crops do better;
    empty where nothing was computed of how sure they are."""
    if scores.compared is not None:
        return row_text.verdict(scores.compared)
    if scores.summary is None:
        return ""
    return " ".join(filter(None, [verdict(scores.summary), fewer_crops(scores.ensemble, len(scores.names))]))


def terminal_table(scores: EnsembleScores, split: str = "val") -> str:
    """The verdict, the paper's table with our numbers, then the members, best first."""
    summary, text = scores.summary, io.StringIO()
    console = Console(file=text, width=WIDTH)
    if summary:
        console.print(f"{verdict_of(scores)}\n", markup=False, highlight=False)
    heads, *lines = paper_table(scores)
    text_columns = [0] if scores.compared else [-1]
    console.print(terminal(_title(scores, split), heads, lines, text_columns))
    if summary and _is_ensemble(scores):
        heads, lines = headings(summary, list(scores.ensemble)), member_lines(scores, summary)
        console.print(terminal(MEMBERS, heads, [cells(line, summary) for line in lines], text_columns=[1]))
    if scores.methods:
        console.print(
            terminal(
                method_table.TITLE, method_table.HEADINGS, [*map(method_table.cells, scores.methods)], text_columns=[0]
            )
        )
    notes = "\n".join(_notes(scores))
    return "\n".join(line.rstrip() for line in f"{text.getvalue().rstrip()}\n\n{notes}".rstrip().splitlines())


def paper_table(scores: EnsembleScores) -> list[list[str]]:
    """Head and lines of the table, the paper's figures in the columns for which it has some."""
    if table := scores.compared:
        return [row_text.headings(table), *(row_text.cells(row, table) for row in table.rows)]
    found = rows(scores)
    shown = paper_columns(found)
    lines = [
        [*_cells(row), *(percent(errors[number]) for errors in shown.values()), row.note]
        for number, row in enumerate(found)
    ]
    return [[*HEADINGS, *shown, ""], *lines]


def _is_ensemble(scores: EnsembleScores) -> bool:
    """Several members that are averaged."""
    return len(scores.names) > 1 and scores.compared is None


def _notes(scores: EnsembleScores) -> list[str]:
    """What the figures mean; of a single model also those that the members' table has of several."""
    if scores.compared:
        return [*row_text.notes(scores.compared), *scores.left_out]
    methods = scores.methods
    beyond = [*method_table.notes(methods), *method_table.details(methods)] if methods else []
    return [*_notes_of_models(scores), *scores.left_out, *beyond]


def _notes_of_models(scores: EnsembleScores) -> list[str]:
    notes, summary = [PAPER] if paper_columns(rows(scores)) else [], scores.summary
    if summary is None:
        return notes
    if len(scores.names) > 1:
        return [*NOTES, *notes]
    own, crops = summary.ensemble, f"{summary.views} crop{'s' * (summary.views > 1)}"
    figures = f"ECE {own.ece:.3f} (15 bins), Brier score {own.brier:.3f} (0 to 2), NLL {own.nll:.3f}"
    return [f"Calibration with {crops}: {figures}.", INTERVAL, *notes]


def write(scores: EnsembleScores, folder: Path, split: str = "val") -> list[Path]:
    """Write the table as Markdown, CSV and a picture, and that of an ensemble's members as CSV.

    Args:
        scores: of the members and the ensemble.
        folder: where `table.md`, `table.csv`, `table.png` and `members.csv` go; for `split` test, `table-test.md` and
            so on.
        split: val or test.

    Where there are methods beyond the paper's table, they are in `methods.csv`, too.

    Returns:
        the paths of the files.
    """
    name = "table" if split == "val" else f"table-{split}"
    markdown, comma_separated, picture = (folder / f"{name}.{kind}" for kind in ("md", "csv", "png"))
    markdown.write_text(_markdown(scores, split))
    with comma_separated.open("w", newline="") as file:
        csv.writer(file).writerows(row_text.csv_rows(scores.compared) if scores.compared else _csv_rows(scores))
    if scores.compared:
        row_picture(scores.compared, picture, _title(scores, split))
    else:
        _picture(scores, picture, split)
    files = [markdown, comma_separated, picture]
    if scores.methods:
        files.append(folder / f"{name.replace('table', 'methods')}.csv")
        with files[-1].open("w", newline="") as file:
            csv.writer(file).writerows(method_table.csv_rows(scores.methods))
    if scores.summary is None or not _is_ensemble(scores):
        return files
    members = folder / f"{name.replace('table', 'members')}.csv"
    with members.open("w", newline="") as file:
        csv.writer(file).writerows(csv_rows(scores, scores.summary))
    return [*files, members]


def _csv_rows(scores: EnsembleScores) -> Iterator[list[object]]:
    yield list(CSV_HEADINGS)
    for row in rows(scores):
        errors = [row.top1_error, row.interval.low, row.interval.high, row.top5_error, row.loss]
        paper = [row.paper.top1_error, row.paper.top5_error]
        yield [row.models, row.crops, row.cost, *errors, *paper, row.note]


def metrics(by_views: dict[int, Scores], split: str) -> dict[str, float]:
    """Scores as MLflow metrics of their own names, the same for members, trials, single trainings and ensembles.

    `accuracy_val_top1`, `accuracy_val_top5` and `loss_val` are at the largest number of views; by it are
    `accuracy_val_top1_1_view`, `accuracy_val_top1_10_views`, `loss_val_10_views` ...; of the test split with `test`.
    """
    names = {"top1": f"accuracy_{split}_top1", "top5": f"accuracy_{split}_top5", "loss": f"loss_{split}"}
    found = {names[kind]: value for kind, value in by_views[max(by_views)].rates().items()}  # MLflow keeps the order
    for views, scores in by_views.items():
        suffix = f"_{views}_view{'s' * (views > 1)}"
        found |= {f"{names[kind]}{suffix}": value for kind, value in scores.rates().items()}
    return found


def final_metrics(scores: EnsembleScores, member: str | None, split: str) -> dict[str, float]:
    """The final scores of a member, or of the ensemble (None), and how sure they are, as MLflow metrics. Rows that are
    compared are no ensemble: of them (None) each has its own."""
    if member is None and scores.compared:
        return row_metrics(scores.compared, split)
    sums = scores.ensemble if member is None else scores.members[member]
    methods = method.metrics(scores.methods, split) if member is None else {}
    sure = certainty(scores.summary, member, split) if scores.summary else {}
    if scores.compared:  # what it adds to an ensemble that nobody makes
        sure = {key: value for key, value in sure.items() if not key.startswith("comparison_")}
    return metrics(sums, split) | methods | sure


def row_metrics(table: RowTable, split: str) -> dict[str, float]:
    """The rows' scores, means over their seeds, and how each compares, as MLflow metrics: `accuracy_val_top1_ROW`,
    `accuracy_val_top5_ROW`, `comparison_val_better_ROW` (a share of one) and `comparison_val_p_ROW` (over images)."""
    found = {}
    for row in table.rows:
        found[f"accuracy_{split}_top1_{row.name}"] = 1 - row.top1_error
        found[f"accuracy_{split}_top5_{row.name}"] = 1 - row.top5_error
        if row.against:
            found[f"comparison_{split}_better_{row.name}"] = row.against.images.difference
            found[f"comparison_{split}_p_{row.name}"] = row.against.images.p_holm
    return {key: value for key, value in found.items() if math.isfinite(value)}


def certainty(summary: Summary, member: str | None, split: str) -> dict[str, float]:
    """How sure final scores are, as MLflow metrics; what is no number is left out.

    `accuracy_val_top1_low` and `_high` are the ends of the 95% interval, `calibration_val_ece`, `_brier` and `_nll` the
    calibration. In an ensemble also `comparison_val_gain` and `_gain_p` (a member: what the ensemble has by it), and
    `comparison_val_lead` and `_lead_p` (the ensemble: over its best member). Gains and leads are shares of one.

    Args:
        summary: of the scores.
        member: its name; None: the ensemble.
        split: val or test.
    """
    figures = summary.ensemble if member is None else summary.members[member]
    found = {
        f"accuracy_{split}_top1_low": 1 - figures.interval.high,
        f"accuracy_{split}_top1_high": 1 - figures.interval.low,
        f"calibration_{split}_ece": figures.ece,
        f"calibration_{split}_brier": figures.brier,
        f"calibration_{split}_nll": figures.nll,
    }
    name, compared = ("lead", summary.against_best) if member is None else ("gain", summary.gains.get(member))
    if compared is not None:
        found |= {f"comparison_{split}_{name}": compared.difference, f"comparison_{split}_{name}_p": compared.p_holm}
    return {key: value for key, value in found.items() if math.isfinite(value)}


def mlflow_command(tracking: TrackingConfig) -> str:
    """How to open the results."""
    if tracking.uri.startswith("http"):
        return tracking.uri
    if "%" in sys.prefix:  # which MLflow's configuration of its database takes for a reference
        where = tracking.uri if tracking.uri != TrackingConfig().uri else f"sqlite:///{Path('mlflow.db').absolute()}"
        return f"mlflow ui --backend-store-uri {shlex.quote(where)}   with an mlflow installed below a path without %"
    store = "" if tracking.uri == TrackingConfig().uri else f"--backend-store-uri {shlex.quote(tracking.uri)} "
    return f".venv/bin/mlflow ui {store}  then http://127.0.0.1:5000"


def percent(share: float | None) -> str:
    """A share of one as percent with two decimals; empty of None."""
    return f"{100 * share:.2f}%" if share is not None else ""


def _title(scores: EnsembleScores, split: str) -> str:
    corrupt = next(iter(scores.ensemble.values())).corrupt
    skipped = f", {corrupt} corrupt left out" if corrupt else ""
    if corrupt == scores.samples:
        skipped = ", none of which can be decoded: there are no scores"
    whole = f"{len(scores.names)} model(s), {scores.samples:,} {IMAGES_OF[split]} images{skipped}"
    views = scores.compared.views if scores.compared else 0
    return f"{whole}, {views} crop{'s' * (views > 1)}" if views else whole


def _cells(row: Row) -> list[str]:
    return [
        str(row.models),
        str(row.crops),
        str(row.cost),
        percent(row.top1_error),
        interval_text(row.interval),
        percent(row.top5_error),
        f"{row.loss:.4f}",
    ]


def _markdown(scores: EnsembleScores, split: str) -> str:
    summary = scores.summary
    parts = [f"**{verdict_of(scores)}**"] if summary else []
    text_columns = [0] if scores.compared else [-1]
    parts += [_title(scores, split), markdown(paper_table(scores), text_columns)]
    if summary and _is_ensemble(scores):
        lines = [cells(line, summary) for line in member_lines(scores, summary)]
        parts += [MEMBERS, markdown([headings(summary, list(scores.ensemble)), *lines], text_columns=[1])]
        parts += ["Images for which two members predict different classes, in per cent:"]
        parts += [markdown(disagreement_cells(summary), text_columns=[0])]
    if scores.methods:
        parts += [method_table.TITLE]
        parts += [markdown([method_table.HEADINGS, *map(method_table.cells, scores.methods)], text_columns=[0])]
    return "\n\n".join([*parts, *_notes(scores)]) + "\n"


def _picture(scores: EnsembleScores, path: Path, split: str) -> None:
    """Top-1 error with its interval by number of crops: the ensemble, then each member, beside each other, so that none
    hides another."""
    from matplotlib.figure import Figure

    members = list(scores.members.items())
    shown = [(f"ensemble of {len(members)}", scores.ensemble), *members] if len(members) > 1 else members
    figure = Figure(figsize=(max(7.5, 3 + 0.25 * len(shown) * len(scores.ensemble)), 4.2), layout="constrained")
    axes = figure.subplots()
    for number, (name, by_views) in enumerate(shown):
        places = [place + 0.8 * ((number + 0.5) / len(shown) - 0.5) for place in range(len(by_views))]
        errors = [100 * (1 - each.rates()["top1"]) for each in by_views.values()]
        ends = [wilson(each.samples - each.top1, each.samples) for each in by_views.values()]
        below = [max(error - 100 * each.low, 0) for error, each in zip(errors, ends, strict=True)]
        above = [max(100 * each.high - error, 0) for error, each in zip(errors, ends, strict=True)]
        turn, member = divmod(number - 1, len(COLOURS))
        colour, marker = (COLOURS[member], MARKERS[turn % len(MARKERS)]) if number else ("black", "s")
        look = {"markersize": 5, "linewidth": 1.2, "capsize": 2}
        axes.errorbar(places, errors, yerr=[below, above], color=colour, fmt=marker, label=name, **look)
    axes.set_xticks(range(len(scores.ensemble)), [str(views) for views in scores.ensemble])
    axes.set_xlabel("crops of each image")
    axes.set_ylabel("top-1 error, %, with 95% interval")
    axes.set_ylim(bottom=0)
    axes.set_title(_title(scores, split))
    axes.grid(axis="y", alpha=0.3)
    for text in figure.legend(loc="outside right upper", fontsize="small", ncols=-(-len(shown) // 14)).get_texts():
        text.set_parse_math(False)
    figure.savefig(path, dpi=110)
