"""A picture as SVG, in the colours of the page it is in: CSS variables, so that it fits light and dark.

In: shapes and texts, in units of which a picture is usually 480 wide. Out: an element for a page, or a file of its own.
"""

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup, escape

from platform.text import printable

WIDTH = 480.0  # two of them lie side by side on a wide screen, one fills a phone
LEAST_SCALE = 0.75  # below it the letters are too small: the page scrolls a picture instead of shrinking it
HERE = Path(__file__).parent


class Drawing:
    """Collects shapes; y grows downwards.

    Args:
        height: in units.
        title: what is shown, for those who do not see it.
        width: in units.
    """

    def __init__(self, height: float, title: str, width: float = WIDTH) -> None:
        self.width, self.height, self.title = width, height, title
        self._parts: list[Markup] = []

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str = "axis") -> None:
        """A straight line of a CSS class."""
        self._parts.append(
            Markup('<line x1="{}" y1="{}" x2="{}" y2="{}" class="{}"/>').format(*_short(x1, y1, x2, y2), kind)
        )

    def path(self, points: Sequence[tuple[float, float]], colour: str, width: float = 1.5, dash: str = "") -> None:
        """A line through points, `colour` in CSS."""
        through = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        dashed = Markup(' stroke-dasharray="{}"').format(dash) if dash else ""
        self._parts.append(
            Markup('<path d="{}" fill="none" style="stroke:{}" stroke-width="{}" stroke-linejoin="round"{}/>').format(
                through, colour, f"{width:g}", dashed
            )
        )

    def rect(
        self, x: float, y: float, width: float, height: float, colour: str, opacity: float = 1.0, tip: str = ""
    ) -> None:
        """A filled rectangle; `tip` is shown under the pointer."""
        self._parts.append(
            Markup('<rect x="{}" y="{}" width="{}" height="{}" style="fill:{}"{}>{}</rect>').format(
                *_short(x, y, max(width, 0.0), max(height, 0.0)), colour, _opacity(opacity), _tip(tip)
            )
        )

    def box(
        self, x: float, y: float, width: float, height: float, fill: str, stroke: str = "none", radius: float = 4.0,
        dash: str = "", tip: str = "",
    ) -> None:  # fmt: skip
        """A rectangle with round corners and an edge, colours in CSS; `tip` is shown under the pointer."""
        dashed = Markup(' stroke-dasharray="{}"').format(dash) if dash else ""
        self._parts.append(
            Markup('<rect x="{}" y="{}" width="{}" height="{}" rx="{}" style="fill:{};stroke:{}"{}>{}</rect>').format(
                *_short(x, y, width, height, radius), fill, stroke, dashed, _tip(tip)
            )
        )

    def curve(self, x1: float, y1: float, x2: float, y2: float, kind: str = "flow") -> None:
        """A line of a CSS class that leaves one point and comes to another downwards."""
        middle = (y1 + y2) / 2
        self._parts.append(
            Markup('<path d="M{} {}C{} {} {} {} {} {}" class="{}"/>').format(
                *_short(x1, y1, x1, middle, x2, middle, x2, y2), kind
            )
        )

    def arrowhead(self, x: float, y: float) -> None:
        """The tip of an arrow that points downwards to here."""
        self._parts.append(Markup('<path d="M{} {}l-3.5 -6h7z" class="arrowhead"/>').format(*_short(x, y)))

    def dot(self, x: float, y: float, radius: float, colour: str, tip: str = "", *, hollow: bool = False) -> None:
        """A disc; a hollow one has the page's colour inside."""
        style = f"fill:var(--background);stroke:{colour}" if hollow else f"fill:{colour}"
        self._parts.append(
            Markup('<circle cx="{}" cy="{}" r="{}" style="{}" stroke-width="1.5">{}</circle>').format(
                *_short(x, y, radius), style, _tip(tip)
            )
        )

    def text(
        self, x: float, y: float, text: str, kind: str = "", anchor: str = "start", colour: str = "", turn: int = 0
    ) -> None:
        """A line of text of any origin.

        Args:
            x: of its anchor.
            y: of its baseline.
            text: cut to one printable line.
            kind: CSS classes.
            anchor: start, middle or end.
            colour: in CSS; "": the class's.
            turn: degrees clockwise about the anchor.
        """
        style = Markup(' style="fill:{}"').format(colour) if colour else ""
        turned = f' transform="rotate({turn} {x:.1f} {y:.1f})"' if turn else ""
        self._parts.append(
            Markup('<text x="{}" y="{}" class="{}" text-anchor="{}"{}{}>{}</text>').format(
                *_short(x, y), kind, anchor, style, Markup(turned), printable(text)
            )
        )

    def image(self, x: float, y: float, width: float, height: float, uri: str, *, pixels: bool = False) -> None:
        """An image from a data URI; `pixels`: enlarged without smoothing."""
        style = Markup(' style="image-rendering:pixelated"') if pixels else ""
        self._parts.append(
            Markup('<image x="{}" y="{}" width="{}" height="{}" href="{}" preserveAspectRatio="none"{}/>').format(
                *_short(x, y, width, height), uri, style
            )
        )

    @property
    def markup(self) -> Markup:
        """The element, for a page with `theme.css` and `drawing.css`."""
        least = f"min-width:{self.width * LEAST_SCALE:.0f}px;max-width:{self.width * 1.35:.0f}px"
        return self._element(Markup(' style="{}"').format(least), Markup(""))

    @property
    def file(self) -> str:
        """The content of an SVG file that looks the same by itself, light or dark as its viewer asks for."""
        return self._file((HERE / "theme.css").read_text())

    def file_in(self, theme: str) -> str:
        """The same, always light or always dark, for pages whose reader chooses; without a background.

        Args:
            theme: light or dark.
        """
        light, _, dark = (HERE / "theme.css").read_text().partition("@media (prefers-color-scheme: dark) {")
        return self._file(light + (dark.rstrip().removesuffix("}") if theme == "dark" else ""), "none")

    def _file(self, colours: str, background: str = "var(--background)") -> str:
        style = Markup("<style>{}</style>").format(Markup(colours + (HERE / "drawing.css").read_text()))
        behind = Markup('<rect width="100%" height="100%" style="fill:{}"/>').format(background)
        size = Markup(' width="{}" height="{}"').format(*_short(1.5 * self.width, 1.5 * self.height))
        return str(self._element(size, style + behind)) + "\n"

    def _element(self, attributes: Markup, first: Markup) -> Markup:
        head = Markup(
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" role="img" aria-label="{}"{}>'
        ).format(*_short(self.width, self.height), printable(self.title), attributes)
        return head + first + Markup("\n").join(self._parts) + Markup("</svg>")


def shortened(text: str, length: int) -> str:
    """One printable line of at most `length` characters, the last of them `…` if there were more."""
    text = printable(text)
    return text if len(text) <= length else text[: length - 1] + "…"


def shortened_name(name: str, length: int) -> str:
    """The same with `…` in the middle: names often differ in their ends, as `-seed1` and `-seed2` do."""
    name = printable(name)
    end = (length - 1) // 2
    return name if len(name) <= length else name[: length - 1 - end] + "…" + name[len(name) - end :]


def _short(*numbers: float) -> list[str]:
    """To a tenth of a unit, as short as that goes."""
    return [f"{number:.1f}".removesuffix(".0") for number in numbers]


def _opacity(opacity: float) -> Markup:
    return Markup(' fill-opacity="{}"').format(f"{opacity:.2f}") if opacity < 1 else Markup("")


def _tip(tip: str) -> Markup:
    return Markup("<title>{}</title>").format(escape(printable(tip))) if tip else Markup("")
