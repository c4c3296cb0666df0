"""Members' colours can be told apart, from each other, from text and background, also by the colour-blind."""

import re
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from platform.checkout import ROOT
from platform.report.colours import COLOURS, DASHES, lines_of
from platform.training.step_parts import PARTS

CSS = (ROOT / "platform" / "drawing" / "theme.css").read_text()
LIGHT, DARK = CSS.split("@media")
# Machado, Oliveira and Fernandes 2009, severity 1; on linear RGB.
SIGHT = {
    "all cones": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]]
)


def linear_rgb(css: str, name: str) -> NDArray[np.float64]:
    found = re.search(rf"--{name}: (#[0-9a-f]+)", css)
    assert found
    code = found[1][1:] if len(found[1]) == 7 else "".join(2 * digit for digit in found[1][1:])
    value = np.array([int(code[place : place + 2], 16) for place in (0, 2, 4)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def contrast(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """WCAG's."""
    low, high = sorted(float(colour @ TO_XYZ[1]) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


def lab(colour: NDArray[np.float64]) -> NDArray[np.float64]:
    xyz = TO_XYZ @ colour / np.array([0.95047, 1, 1.08883])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("css", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("sight", SIGHT)
def test_members_colours_are_far_from_each_other_and_from_the_text(css: str, sight: str):
    colours = [linear_rgb(css, name) for name in ["text", *(f"c{number}" for number in range(COLOURS))]]
    seen = [lab(np.clip(np.array(SIGHT[sight]) @ colour, 0, 1)) for colour in colours]
    assert min(float(np.linalg.norm(one - other)) for one, other in combinations(seen, 2)) > 25


@pytest.mark.parametrize("css", [LIGHT, DARK], ids=["light", "dark"])
def test_lines_and_text_stand_out_from_the_background(css: str):
    background = linear_rgb(css, "background")
    for name in [f"c{number}" for number in range(COLOURS)]:
        assert contrast(linear_rgb(css, name), background) >= 3, name
    for name in ("text", "quiet", "best", "wrong"):
        assert contrast(linear_rgb(css, name), background) >= 4.5, name


def test_both_themes_have_the_same_variables():
    names = [set(re.findall(r"--([\w-]+):", css)) for css in (LIGHT, DARK)]
    assert names[0] == names[1]
    used = "".join(path.read_text() for path in (ROOT / "platform" / "report").glob("*") if path.is_file())
    assert set(re.findall(r"var\(--([a-z-]+)\)", used)) <= names[0]


def test_as_many_members_as_an_ensemble_ever_had_look_different():
    members = COLOURS * len(DASHES)
    assert len(set(lines_of(map(str, range(members))).values())) == members


@pytest.mark.parametrize("css", [LIGHT, DARK], ids=["light", "dark"])
def test_what_is_written_on_the_parts_of_a_step_can_be_read(css: str):
    background = linear_rgb(css, "background")
    for part in (*PARTS, "computing", "evaluation", "decode"):
        assert contrast(linear_rgb(css, f"step-{part}"), background) >= 4.5, part
