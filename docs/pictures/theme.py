"""What the pictures look like: their width, fonts and colours, light and dark."""

from dataclasses import dataclass
from typing import Any

WIDTH = 800  # of every picture, in pixels
LINE = 125  # letters in a line of a caption
FONTS = "-apple-system, BlinkMacSystemFont, 'Segoe UI', 'Noto Sans', Helvetica, Arial, sans-serif"

STYLE: dict[Any, Any] = {  # of matplotlib
    "svg.hashsalt": "pictures",
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 12,
    "axes.unicode_minus": False,
}


@dataclass(frozen=True)
class Theme:
    """Colours on a transparent background, as the road has them."""

    name: str
    text: str
    quiet: str
    edge: str
    usual: str  # of what is compared with
    blue: str
    orange: str
    green: str
    purple: str


LIGHT = Theme("light", "#1f2328", "#59636e", "#d1d9e0", "#a5afba", "#0969da", "#bc4c00", "#1a7f37", "#8250df")
DARK = Theme("dark", "#f0f6fc", "#9198a1", "#3d444d", "#6e7681", "#4493f8", "#f0883e", "#3fb950", "#a371f7")
