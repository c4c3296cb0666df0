"""Lines that stay apart: seven colours of `theme.css`, in light and dark, then the same ones dashed.

The colours were chosen by search: far from each other and from the text in CIELAB, for people with all three kinds of
colour blindness too, and at least 3:1 against the background. `tests/report` measures both.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

COLOURS = 7
DASHES = ("", "7 3", "2 3", "9 3 2 3")
ENSEMBLE = "var(--text)"


@dataclass(frozen=True)
class Line:
    """How a member is drawn, the same in every picture of a report: a colour in CSS, and SVG's dashes."""

    colour: str
    dash: str = ""


Lines = Mapping[str, Line]  # by member


def lines_of(members: Iterable[str]) -> Lines:
    """The line of each member, in their order."""
    return {
        name: Line(f"var(--c{number % COLOURS})", DASHES[number // COLOURS % len(DASHES)])
        for number, name in enumerate(members)
    }
