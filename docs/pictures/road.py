"""The road from configs to MLflow, drawn by hand in light colours, in dark ones."""

import re

DARK_OF = {
    "#1f2328": "#f0f6fc",  # text
    "#59636e": "#9198a1",  # quiet text, arrows
    "#fdfdfe": "#161b22",  # cards
    "#f6f8fa": "#10151c",  # the panel of the lanes
    "#e4e9ee": "#2a313c",  # what is still to do
    "#d1d9e0": "#3d444d",  # edges
    "#0550ae": "#58a6ff",  # blue lines and code
    "#0969da": "#1f6feb",
    "#8250df": "#8957e5",
    "#1a7f37": "#238636",
    "#bc4c00": "#db6d28",
    "#ffffff": "#ffffff",  # text on colours
}


def in_the_dark(light: str) -> str:
    """The same picture in other colours; raises KeyError for a colour that has no other."""
    return re.sub(r"#[0-9a-f]{6}\b", lambda colour: DARK_OF[colour[0]], light)
