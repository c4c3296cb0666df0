"""What MLflow's page of a run shows as its description: a short report, whose first sentence is the answer.

In: tables that are written, scores, attempts. Out: Markdown. The page shows some lines of it until it is opened.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path

from platform.evaluation.metrics import Scores
from platform.evaluation.statistics.intervals import wilson
from platform.evaluation.summary import Figures
from platform.evaluation.table import EnsembleScores
from platform.evaluation.verdict import interval_text
from platform.experiment.goodput import Attempt, Times, table
from platform.tracking.operations import RUN_ID

MOST_PICTURES = 12  # more than a report has; their page is folded until somebody opens it
MOST_LINES = 40  # of a table
WIDTH = 90  # characters of a line of code
PICTURES = (".png", ".svg")  # PNG: light ones; a report's SVG follow the browser, with a background of their own


def of_experiment(
    said: str, tables: Sequence[Path], pictures: Sequence[Path], notes: Sequence[str], commands: Sequence[str]
) -> str:
    """Of a parent run.

    Args:
        said: what became of it; empty: the tables say so in their first line.
        tables: Markdown files; of a long one the first lines are shown.
        pictures: paths within the run's artifacts.
        notes: more sentences, such as what interrupted it.
        commands: to go on, to predict.
    """
    shown = [_first_lines(path.read_text(encoding="utf-8"), path.name) for path in tables]
    links = [f"![{path.stem}](/get-artifact?path={path}&run_uuid={RUN_ID})" for path in pictures[:MOST_PICTURES]]
    code = "\n".join(["```", *commands, "```"])
    return "\n\n".join(part for part in (said, *shown, *notes, code, *links) if part)


def of_member(name: str, scores: EnsembleScores | None, attempts: Sequence[Attempt], said: str) -> str:
    """Of a member or trial that has ended.

    Args:
        name: the member's.
        scores: with this member's; None: it has none.
        attempts: in order; the newest are shown.
        said: what became of it, in a sentence, where there are no scores.
    """
    first, by_views = said, ""
    if scores:
        crops = max(scores.members[name])
        figures = scores.summary.members.get(name) if scores.summary else None
        first = _error(figures, crops) if figures else said
        head = "| crops | top-1 error | 95% interval | top-5 error | 95% interval | loss |"
        lines = [_line(views, sums) for views, sums in scores.members[name].items()]
        by_views = "\n".join([head, "|--:|--:|--:|--:|--:|--:|", *lines])
    return "\n\n".join(part for part in (first, by_views, *spent(attempts)) if part)


def _line(views: int, sums: Scores) -> str:
    """Of the table by number of crops; intervals are Wilson's."""
    errors = [
        cell
        for right in (sums.top1, sums.top5)
        for cell in (
            f"{100 * (1 - right / sums.samples):.2f}%" if sums.samples else "unknown",
            interval_text(wilson(sums.samples - right, sums.samples)),
        )
    ]
    cells = [str(views), *errors, f"{sums.rates()['loss']:.4f}"]
    return f"| {' | '.join(cells)} |"


def spent(attempts: Sequence[Attempt]) -> list[str]:
    """How the wall time of a member was spent, and its attempts; empty before the first."""
    return [f"Time: {times_text(Times.of(attempts))}.", table(attempts)] if attempts else []


def _error(figures: Figures, crops: int) -> str:
    return (
        f"Top-1 error {100 * figures.error:.2f}% with {crops} crop{'s' * (crops > 1)} "
        f"(95% CI {interval_text(figures.interval)}, {figures.samples:,} images)."
    )


def times_text(times: Times) -> str:
    """`20 s starting, 50 s training, 8 s evaluating`."""
    parts = {
        "in the queue": times.queue_s,
        "starting": times.starting_s,
        "training": times.training_s,
        "on steps that were done before": times.repeated_s,
        "evaluating": times.evaluation_s,
        "idle": times.idle_s,
    }
    return ", ".join(f"{seconds:.0f} s {what}" for what, seconds in parts.items() if seconds >= 0.5) or "under a second"


def _first_lines(text: str, name: str) -> str:
    lines = text.strip().splitlines()
    more = ["", f"... and {len(lines) - MOST_LINES} lines more, in {name} among the artifacts"]
    return "\n".join([*lines[:MOST_LINES], *(more if len(lines) > MOST_LINES else [])])


def commands_of(
    command: str, folder: Path, *, several: bool, trained: bool = True, has_model: bool = True, model: str = ""
) -> list[str]:
    """The commands that a reader may want next.

    Args:
        command: of the run.
        folder: its results.
        several: a sweep's: what was trained is in its trials.
        trained: whether anything is.
        has_model: whether the sweep has its best trial's.
        model: the model's folder within `folder`, where that has none of its own.
    """
    where = shlex.quote(str(folder))
    launch = "python -m platform.launch"
    of = shlex.quote(str(folder / model))
    predict = f"{launch} job=predict predict.model={of} predict.images=FILE"
    if not trained:
        commands = {"go on": command}
    elif several:
        commands = {"again, or go on": command, "as an experiment": f"{launch} job=promote promote.sweep={where}"}
        commands |= {"classify an image by the best trial": predict} if has_model else {}
    else:
        commands = {
            "again, or go on": command,
            "classify an image": predict,
            "repeat and compare": f"{launch} job=reproduce reproduce.run={where}",
        }
    return [line for what, each in commands.items() for line in (f"# {what}", *_folded(each))]


def _folded(command: str) -> list[str]:
    """Over several lines where it is long: MLflow's page is as wide as its longest line of code."""
    lines = [""]
    for word in map(shlex.quote, shlex.split(command)):
        if lines[-1] and len(lines[-1]) + len(word) > WIDTH:
            lines[-1] += " \\"
            lines.append("   ")
        lines[-1] += f" {word}" if lines[-1] else word
    return lines
