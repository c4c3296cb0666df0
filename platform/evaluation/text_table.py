"""Tables of figures with one column of text, for a terminal and as Markdown.

In: cells as text. Out: a Rich table, or lines of Markdown.
"""

from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

WIDTH = 120  # columns of a terminal


def terminal(title: str, heads: Sequence[str], lines: Sequence[Sequence[str]], text_columns: Sequence[int]) -> Table:
    """A table for a terminal: columns of text, which are broken where there is no room, among figures."""
    whole = Text(title, style="bold", no_wrap=True, overflow="ignore")  # also where the table is narrower
    table = Table(box=box.SIMPLE_HEAD, title=whole, title_justify="left", padding=(0, 1, 0, 0))
    for head in heads:
        table.add_column(Text(head), justify="right", no_wrap=True)
    for place in text_columns:
        table.columns[place].justify, table.columns[place].no_wrap = "left", False
        table.columns[place].overflow = "fold"
    for line in lines:
        table.add_row(*map(Text, line))
    return table


def markdown(lines: Sequence[Sequence[str]], text_columns: Sequence[int]) -> str:
    """A table of Markdown; the first line is the head. Cells are escaped by whoever made them."""
    rules = ["--:"] * len(lines[0])
    for place in text_columns:
        rules[place] = "---"
    return "\n".join(f"| {' | '.join(line)} |" for line in [lines[0], rules, *lines[1:]])
