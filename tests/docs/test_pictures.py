"""Every picture of the README and the pages: drawn anew from its figures, in both variants, small."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from docs.pictures.draw import HERE, PICTURES, draw_all
from docs.pictures.road import in_the_dark

NAMES = sorted({"googlenet", "road", *PICTURES})
VARIANTS = ["dark", "light"]
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    draw_all(folder)
    return folder


def test_the_figures_give_every_picture_in_both_variants(drawn: Path) -> None:
    assert sorted(path.name for path in drawn.iterdir()) == [f"{name}-{v}.svg" for name in NAMES for v in VARIANTS]


def test_drawing_again_gives_the_same_bytes(drawn: Path, tmp_path: Path) -> None:
    for path in draw_all(tmp_path):
        assert path.read_bytes() == (drawn / path.name).read_bytes()


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", NAMES)
def test_a_committed_picture_is_small_and_says_what_the_drawn_one_says(name: str, variant: str, drawn: Path) -> None:
    path = HERE / f"{name}-{variant}.svg"
    assert path.stat().st_size < 150_000
    assert _texts(path) == _texts(drawn / path.name)


def test_every_picture_here_has_both_variants() -> None:
    pictures = [path.stem.rpartition("-") for path in HERE.iterdir() if path.suffix in (".svg", ".png")]
    assert sorted((name, variant) for name, _, variant in pictures) == [(n, v) for n in NAMES for v in VARIANTS]


@pytest.mark.parametrize("name", PICTURES)
def test_the_figures_say_where_they_come_from(name: str) -> None:
    figures = json.loads((HERE / f"{name}.json").read_text())
    for part in figures.get("groups", [figures]):
        assert all((figures | part)[key] for key in ("command", "hardware", "date", "commit"))


def test_a_colour_without_a_dark_one_is_an_error() -> None:
    with pytest.raises(KeyError, match="#123456"):
        in_the_dark('<rect fill="#123456"/>')


def _texts(path: Path) -> list[str]:
    return ["".join(each.itertext()) for each in ElementTree.parse(path).iter(f"{SVG}text")]
