"""The pictures of the README and the pages, each in a light and a dark variant: `python -m docs.pictures.draw`.

In: NAME.json beside this file for each of `PICTURES`, which say where their figures come from, road-light.svg, which is
drawn by hand, and GoogLeNet itself. Out: NAME-light.svg and NAME-dark.svg, the same bytes each time.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from docs.pictures import learning, resume, rivals, road, scale, speed, table, timeline
from docs.pictures.theme import DARK, FONTS, LIGHT, STYLE, Theme
from platform.config.models import GoogLeNetConfig
from platform.summary.network import network_of
from platform.summary.picture.draw import picture_of

HERE = Path(__file__).parent
PICTURES: dict[str, Callable[[dict[str, Any], Theme], Figure]] = {
    "learning": learning.draw,
    "resume": resume.draw,
    "rivals": rivals.draw,
    "scale": scale.draw,
    "speed": speed.draw,
    "table": table.draw,
    "timeline": timeline.draw,
}


def draw_all(folder: Path) -> list[Path]:
    """Every picture in both variants; returns their paths."""
    drawn = []
    with matplotlib.rc_context(STYLE):
        for name, draw in PICTURES.items():
            figures = json.loads((HERE / f"{name}.json").read_text())
            drawn += [_save(draw(figures, theme), folder / f"{name}-{theme.name}.svg") for theme in (LIGHT, DARK)]
    light = (HERE / "road-light.svg").read_text()
    for name, text in (("light", light), ("dark", road.in_the_dark(light))):
        path = folder / f"road-{name}.svg"
        path.write_text(text)
        drawn.append(path)
    return drawn + googlenet(folder)


def googlenet(folder: Path) -> list[Path]:
    """The network of the paper, as `job=summary data=imagenet` draws it."""
    picture = picture_of(network_of(GoogLeNetConfig(), classes=1000, image_size=224))
    paths = {theme: folder / f"googlenet-{theme}.svg" for theme in ("light", "dark")}
    for theme, path in paths.items():
        path.write_text(picture.file_in(theme))
    return list(paths.values())


def _save(figure: Figure, path: Path) -> Path:
    """As SVG whose text stays text, in the reader's own font: measured in DejaVu Sans, which is wider than most."""
    figure.savefig(path, transparent=True, metadata={"Date": None, "Creator": None})
    text = path.read_text()
    text = re.sub(r"'DejaVu Sans'[^;\"]*", FONTS, text)
    text = re.sub(r'width="([\d.]+)pt" height="([\d.]+)pt"', r'width="\1" height="\2"', text, count=1)
    path.write_text("\n".join(line.rstrip() for line in text.splitlines()) + "\n")
    return path


if __name__ == "__main__":
    print("\n".join(str(path) for path in draw_all(HERE)))
