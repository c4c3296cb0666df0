"""What `job=predict` prints: a few images one by one, a table of some, counts and scores of all.

In: a summary. Out: text on stdout, for 80 columns and more.
"""

from collections import Counter

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from platform.evaluation.statistics.intervals import wilson
from platform.evaluation.verdict import interval_text
from platform.export.description import Description
from platform.prediction.rows import Accuracy, Opinion, Row, Summary
from platform.text import printable

CLOSE_UP = 3  # so many images are shown with bars
BAR = 24
FAILURES = 20  # that are named
NAME = 25  # letters of a name in a table
PLAIN_WIDTH = 120  # where the output is no terminal
WIDE = 100  # terminals with room for the second and third class


def show(summary: Summary, model: Description, *, rows: int) -> None:
    """Print rows, failures and scores.

    Args:
        summary: of all images.
        model: names of classes and members.
        rows: images that are shown; 0: only what is said of all.
    """
    console = Console(highlight=False, soft_wrap=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PLAIN_WIDTH)
    good = [row for row in summary.rows[:rows] if row.error is None]
    if good:
        console.print()
        few = summary.images <= CLOSE_UP
        console.print(Group(*(close_up(row, model) for row in good)) if few else overview(good, model, console.width))
        if (more := summary.images - rows) > 0:
            console.print(f"... and {more:,} more; predict.output=FILE.csv (or .parquet, .jsonl) writes all of them")
    for line in failures(summary):
        console.print(Text(line, overflow="fold"))
    for line in scores(summary):
        console.print(line)


def close_up(row: Row, model: Description) -> RenderableType:
    """One image: bars of its classes, and who among the members disagrees."""
    bars = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    bars.add_column(overflow="fold")
    bars.add_column(no_wrap=True)
    bars.add_column(no_wrap=True, justify="right")
    for place, opinion in enumerate(row.top):
        style = "bold" if place == 0 else ""
        bars.add_row(Text(printable(opinion.name), style), _bar(opinion.probability), Text(_percent(opinion), style))
    lines: list[RenderableType] = [Text(printable(row.image), "bold underline", overflow="fold"), bars]
    if len(model.members) > 1:
        lines.append(Text(f"members: {opinions(row, model)}", "dim", overflow="fold"))
    if row.label is not None:
        lines.append(_label(row))
    return Group(*lines, Text())


def overview(rows: list[Row], model: Description, width: int) -> Table:
    """One line for each image, in so many columns of letters."""
    wide = width >= WIDE
    labelled = any(row.label is not None for row in rows)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("image", overflow="fold")
    table.add_column("class", overflow="fold")
    table.add_column("", justify="right", no_wrap=True)
    if wide:
        table.add_column("then", overflow="fold")
    if len(model.members) > 1:
        table.add_column("members", overflow="fold", min_width=7)
    if labelled:
        table.add_column("label", overflow="fold")
    for row in rows:
        first, *others = row.top
        cells = [
            Text(_end(printable(row.image), min(width // 4, NAME))),
            Text(printable(first.name), "bold"),
            Text(_percent(first)),
        ]
        if wide:
            cells.append(Text(", ".join(f"{printable(each.name)} {_percent(each)}" for each in others[:2]), "dim"))
        if len(model.members) > 1:
            cells.append(Text(votes(row)))
        if labelled:
            cells.append(_label(row))
        table.add_row(*cells)
    return table


def opinions(row: Row, model: Description) -> str:
    """`7 of 7`, or `5 of 7; wider: 3 41.0%, plain: 8 60.2%`."""
    answer = row.top[0].name
    others = [(name, each) for name, each in zip(model.members, row.members, strict=True) if each.name != answer]
    agree = f"{len(row.members) - len(others)} of {len(row.members)} agree"
    said = ", ".join(f"{name}: {printable(each.name)} {_percent(each)}" for name, each in others)
    return f"{agree}; {said}" if others else agree


def votes(row: Row) -> str:
    """`7 of 7`, or `4 of 7; tiger cat 2, lynx 1`."""
    counts = Counter(each.name for each in row.members)
    answer = counts.pop(row.top[0].name, 0)
    others = ", ".join(f"{printable(name)} {count}" for name, count in counts.most_common())
    return f"{answer} of {len(row.members)}{f'; {others}' if others else ''}"


def _end(name: str, most: int) -> str:
    """The end of a long name, which tells files apart."""
    return name if len(name) <= most else f"...{name[3 - most :]}"


def failures(summary: Summary) -> list[str]:
    """Images that could not be classified, with the reason; the first of them."""
    shown = summary.failed[:FAILURES]
    lines = [f"not classified: {printable(row.image)}: {printable(row.error or '')}" for row in shown]
    if summary.failures > len(shown):
        lines.append(f"not classified: and {summary.failures - len(shown):,} more")
    return lines


def scores(summary: Summary) -> list[str]:
    """Counts, and how often the label was the first class and among the first five."""
    lines = []
    classified = summary.images - summary.failures
    lost = f", {summary.failures:,} could not be" if summary.failures else ""
    lines.append(f"classified {classified:,} of {images(summary.images)}{lost}")
    for split, counts in summary.by_split.items():
        if counts.labelled:
            note = "" if split else f"; labels are the names of folders, of {images(counts.labelled)}"
            lines.append(f"{_where(split)}{_accuracy(counts)}{note}")
        if counts.strange:
            lines.append(f"{_where(split)}of {images(counts.strange)} the label is no class of the model")
    return lines


def images(count: int) -> str:
    """`1 image`, `1,797 images`."""
    return f"{count:,} image{'' if count == 1 else 's'}"


def _where(split: str) -> str:
    note = " (it was trained on images like these)" if split == "train" else ""
    return f"{split + note:<10} " if split else ""


def _accuracy(counts: Accuracy) -> str:
    """The shares with Wilson's intervals."""
    labelled = counts.labelled
    top1, top5 = (
        f"{count / labelled:.2%} ({count:,} of {labelled:,}, 95% CI {interval_text(wilson(count, labelled))})"
        for count in (counts.top1, counts.top5)
    )
    return f"top-1 {top1}, top-5 {top5}"


def _label(row: Row) -> Text:
    right = row.rank == 1
    style = "green" if right else "red"
    mark = "" if right else (f" (place {row.rank})" if row.rank else " (no class of the model)")
    return Text(f"{printable(row.label or '')}{mark}" if row.label else "", style)


def _bar(probability: float) -> Text:
    eighths = round(probability * BAR * 8)
    full, rest = divmod(eighths, 8)
    blocks = "█" * full + (" ▏▎▍▌▋▊▉"[rest] if rest else "")
    return Text(blocks.ljust(BAR), "cyan")


def _percent(opinion: Opinion) -> str:
    return f"{opinion.probability:.1%}"
