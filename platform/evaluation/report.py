"""The table as text, Markdown, CSV and a picture."""

import csv
import io
import shlex
import sys
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from platform.config.sections import TrackingConfig
from platform.evaluation.metrics import Scores
from platform.evaluation.table import EnsembleScores, Row, rows

HEADINGS = ["models", "crops", "cost", "top-1 error", "top-5 error", "loss", "paper, ImageNet", ""]

IMAGES_OF = {"val": "validation", "test": "test"}


def terminal_table(scores: EnsembleScores, split: str = "val") -> str:
    """The paper's table with our numbers, then each member alone."""
    table = Table(*HEADINGS, box=box.SIMPLE_HEAD, title=_title(scores, split), title_justify="left", title_style="bold")
    for column in table.columns[:-1]:
        column.justify = "right"
    for row in rows(scores):
        table.add_row(*_cells(row))
    members = Table("member", *(f"top-1 error, {v} crop{'s' * (v > 1)}" for v in scores.ensemble), box=box.SIMPLE_HEAD)
    for column in members.columns[1:]:
        column.justify = "right"
    for name, by_views in scores.members.items():
        members.add_row(name, *(percent(1 - each.rates()["top1"]) for each in by_views.values()))
    text = io.StringIO()
    console = Console(file=text, width=120)
    console.print(table)
    console.print(members)
    return "\n".join(line.rstrip() for line in text.getvalue().rstrip().splitlines())


def write(scores: EnsembleScores, folder: Path, split: str = "val") -> list[Path]:
    """Write the table as Markdown, CSV and a picture.

    Args:
        scores: of the members and the ensemble.
        folder: where `table.md`, `table.csv` and `table.png` go; for `split` test, `table-test.md` and so on.
        split: val or test.

    Returns:
        the paths of the three files.
    """
    name = "table" if split == "val" else f"table-{split}"
    markdown, comma_separated, picture = (folder / f"{name}.{kind}" for kind in ("md", "csv", "png"))
    markdown.write_text(_markdown(scores, split))
    with comma_separated.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["models", "crops", "cost", "top1_error", "top5_error", "loss", "paper_top5_error", "note"])
        for row in rows(scores):
            errors = [row.top1_error, row.top5_error, row.loss, row.paper_top5_error]
            writer.writerow([row.models, row.crops, row.cost, *errors, row.note])
    _picture(scores, picture, split)
    return [markdown, comma_separated, picture]


def metrics(by_views: dict[int, Scores], split: str) -> dict[str, float]:
    """Scores as MLflow metrics of their own names, the same for members, trials, single trainings and ensembles.

    `accuracy/val_top1`, `accuracy/val_top5` and `loss/val` are at the largest number of views; by it are
    `accuracy/val_top1_1_view`, `accuracy/val_top1_10_views`, `loss/val_10_views` ...; of the test split with `test`.
    """
    names = {"top1": f"accuracy/{split}_top1", "top5": f"accuracy/{split}_top5", "loss": f"loss/{split}"}
    found = {}
    for views, scores in by_views.items():
        suffix = f"_{views}_view{'s' * (views > 1)}"
        found |= {f"{names[kind]}{suffix}": value for kind, value in scores.rates().items()}
    return found | {names[kind]: value for kind, value in by_views[max(by_views)].rates().items()}


def mlflow_command(tracking: TrackingConfig) -> str:
    """How to open the results."""
    if tracking.uri.startswith("http"):
        return tracking.uri
    if "%" in sys.prefix:  # which MLflow's configuration of its database takes for a reference
        where = tracking.uri if tracking.uri != TrackingConfig().uri else f"sqlite:///{Path('mlflow.db').absolute()}"
        return f"mlflow ui --backend-store-uri {shlex.quote(where)}   with an mlflow installed below a path without %"
    store = "" if tracking.uri == TrackingConfig().uri else f"--backend-store-uri {shlex.quote(tracking.uri)} "
    return f".venv/bin/mlflow ui {store}  then http://127.0.0.1:5000"


def percent(share: float) -> str:
    """A share of one as percent with two decimals."""
    return f"{100 * share:.2f}%"


def _title(scores: EnsembleScores, split: str) -> str:
    corrupt = next(iter(scores.ensemble.values())).corrupt
    skipped = f", {corrupt} corrupt left out" if corrupt else ""
    if corrupt == scores.samples:
        skipped = ", none of which can be decoded: there are no scores"
    return f"{len(scores.names)} model(s), {scores.samples:,} {IMAGES_OF[split]} images{skipped}"


def _cells(row: Row) -> list[str]:
    paper = percent(row.paper_top5_error) if row.paper_top5_error is not None else ""
    return [
        str(row.models),
        str(row.crops),
        str(row.cost),
        percent(row.top1_error),
        percent(row.top5_error),
        f"{row.loss:.4f}",
        paper,
        row.note,
    ]


def _markdown(scores: EnsembleScores, split: str) -> str:
    lines = [_title(scores, split), "", "| " + " | ".join(HEADINGS) + " |", "|" + "--:|" * (len(HEADINGS) - 1) + "---|"]
    lines += ["| " + " | ".join(_cells(row)) + " |" for row in rows(scores)]
    return "\n".join(lines) + "\n"


def _picture(scores: EnsembleScores, path: Path, split: str) -> None:
    """Top-1 error against the number of crops: each member, their mean, the ensemble."""
    from matplotlib.figure import Figure

    views = list(scores.ensemble)
    places = range(len(views))
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for name, by_views in scores.members.items():
        errors = [100 * (1 - by_views[v].rates()["top1"]) for v in views]
        axes.plot(places, errors, marker="o", linewidth=1, alpha=0.6, label=name)
    if len(scores.names) > 1:
        errors = [100 * (1 - scores.ensemble[v].rates()["top1"]) for v in views]
        axes.plot(places, errors, marker="s", linewidth=3, color="black", label=f"ensemble of {len(scores.names)}")
    axes.set_xticks(list(places), [str(v) for v in views])
    axes.set_xlabel("crops of each image")
    axes.set_ylabel("top-1 error, %")
    axes.set_ylim(bottom=0)
    axes.set_title(_title(scores, split))
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize="small", ncols=2)
    figure.savefig(path, dpi=110)
