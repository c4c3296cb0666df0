"""The parts of the report's page.

In: what each picture's module made. Out: sections that the template writes; a part that cannot be made leaves its
reason.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from platform.drawing.drawing import Drawing
from platform.text import first_line, printable

log = logging.getLogger("platform")


BESIDE = 5  # columns of a table that stands beside a picture


class Absent(Exception):
    """What a section is about was not recorded, or is not there any more; the message says so in one line."""


@dataclass(frozen=True)
class Table:
    """Text in columns; all but those named in `words` are figures, set to the right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: Sequence[int] = (0,)
    strong: Sequence[int] = ()  # rows

    @property
    def is_wide(self) -> bool:
        """Whether it needs the page's whole width."""
        return len(self.columns) > BESIDE


@dataclass(frozen=True)
class Picture:
    """A drawing, and the name of its file without the suffix."""

    name: str
    drawing: Drawing


@dataclass(frozen=True)
class Card:
    """An image with what is said of it."""

    uri: str  # a data URI
    title: str
    lines: Sequence[str]
    pixels: bool = False  # enlarged without smoothing


@dataclass(frozen=True)
class Section:
    """A part of the page. `absent` says why there is nothing in it."""

    anchor: str
    title: str
    notes: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    cards: Sequence[Card] = ()
    absent: str = ""
    parts: Sequence["Section"] = ()  # beneath it, each with a title of its own
    stacked: bool = False  # pictures one below the other, of the page's whole width

    @property
    def all_pictures(self) -> list[Picture]:
        """Those of its parts, too."""
        return [*self.pictures, *(picture for part in self.parts for picture in part.all_pictures)]


@dataclass
class Faults:
    """Counts the sections that could not be made, to be told once."""

    lines: list[str] = field(default_factory=list)

    def made(self, anchor: str, title: str, make: Callable[[], Section]) -> Section:
        """The section that `make` makes; where it cannot, one that says why. Errors are counted, absences are not."""
        try:
            return make()
        except Absent as reason:
            return Section(anchor, title, absent=f"Left out: {reason}.")
        except Exception as error:
            said = f"{type(error).__name__}: {printable(first_line(error))}"
            self.lines.append(f"{title}: {said}")
            log.debug("the report's section %s failed", title, exc_info=True)
            return Section(anchor, title, absent=f"Left out by a fault ({said}).")
