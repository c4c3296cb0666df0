"""The table of rows as a picture: of each its top-1 error with the interval, and the paper's beside it.

In: a `RowTable`. Out: a PNG file.
"""

from pathlib import Path

from platform.evaluation.rows import RowTable

OURS, PAPERS = "#0000e0", "#e06000"  # far apart, for the colour-blind too
ROW_INCHES = 0.38


def row_picture(table: RowTable, path: Path, title: str) -> None:
    """Draw it: a line for each row, in the table's order from above.

    Args:
        table: the rows.
        path: of the file.
        title: above it.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 1.6 + ROW_INCHES * len(table.rows)), layout="constrained")
    axes, places = figure.subplots(), range(len(table.rows))
    errors = [100 * row.top1_error for row in table.rows]
    below = [max(100 * (row.top1_error - row.interval.low), 0) for row in table.rows]
    above = [max(100 * (row.interval.high - row.top1_error), 0) for row in table.rows]
    axes.errorbar(errors, places, xerr=[below, above], fmt="s", color=OURS, markersize=5, capsize=2, label="here")
    for row, place in zip(table.rows, places, strict=True):
        if len(row.top1_errors) > 1:
            seeds = [100 * error for error in row.top1_errors]
            axes.plot(seeds, [place - 0.22] * len(seeds), "|", color=OURS, markersize=6, alpha=0.7)
    papers = [(100 * row.paper.top1_error, place) for row, place in zip(table.rows, places, strict=True)
              if row.paper.top1_error is not None]  # fmt: skip
    if papers:
        axes.plot(*zip(*papers, strict=True), "o", color=PAPERS, markersize=5, label="paper, on its images")
    for text, row in zip(axes.set_yticks(places, [row.name for row in table.rows]), table.rows, strict=True):
        text.label1.set_parse_math(False)
        assert text.label1.get_text() == row.name
    axes.invert_yaxis()
    axes.set_xlabel("top-1 error, %, with 95% interval")
    axes.set_xlim(left=0)
    axes.set_title(title)
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside right upper", fontsize="small")
    figure.savefig(path, dpi=110)
