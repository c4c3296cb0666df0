"""Scales, labels that keep their distance, curves thinned, text that stays text."""

import math
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform.drawing.drawing import Drawing, shortened, shortened_name
from platform.report.scales import linear, logarithmic, spread, thinned, toward_one

FINITE = st.floats(-1e6, 1e6)


@given(st.lists(FINITE, min_size=1, max_size=30), st.booleans())
def test_a_linear_scale_holds_all_values_between_round_ticks(values: list[float], tight: bool):
    scale = linear(values, 10, 110, tight=tight)
    places = [scale(value) for value in sorted(values)]
    assert all(10 <= place <= 110 for place in places)
    assert places == sorted(places)
    slack = 1e-6 * max(map(abs, values))
    assert scale.low <= min(values) + slack
    assert scale.high >= max(values) - slack
    assert 1 <= len(scale.ticks) <= 12
    assert all(b > a for a, b in pairwise(scale.ticks))


@given(st.floats(1e-6, 1))
def test_a_linear_scale_of_one_share_stays_around_it(share: float):
    scale = linear([share], 10, 110)
    assert 0 < scale.low <= share <= scale.high <= 1.5 * share


@given(st.lists(st.floats(1e-8, 1e8), min_size=1, max_size=30))
def test_a_logarithmic_scale_holds_all_values(values: list[float]):
    scale = logarithmic(values, 200, 20)
    assert scale.low <= min(values) * (1 + 1e-9)
    assert scale.high >= max(values) * (1 - 1e-9)
    assert scale.ticks[0] == scale.low
    assert scale.ticks[-1] == scale.high
    assert scale(scale.low) == 200
    assert scale(scale.high) == pytest.approx(20)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(1, 100_000))
def test_a_scale_toward_one_holds_all_shares(shares: list[float], samples: int):
    scale = toward_one(shares, 300, 20, samples)
    places = [scale(share) for share in sorted(shares)]
    assert all(20 - 1e-6 <= place <= 300 + 1e-6 for place in places)
    assert places == sorted(places, reverse=True)


def test_a_scale_toward_one_gives_each_halving_of_the_error_the_same_room():
    scale = toward_one([0.5, 0.999], 300, 0, 100_000)
    assert scale(0.6) - scale(0.8) == pytest.approx(scale(0.8) - scale(0.9))
    assert scale(0.9) - scale(0.95) == pytest.approx(scale(0.96) - scale(0.98))


@given(st.lists(st.floats(0, 300), max_size=40), st.floats(1, 30))
def test_labels_keep_their_order_and_distance(places: list[float], gap: float):
    found = spread(places, gap, 0, 300)
    fits = gap * (len(places) - 1) <= 300
    assert len(found) == len(places)
    assert all(-1e-6 <= place <= 300 + 1e-6 for place in found)
    by_place = sorted(zip(places, found, strict=True))
    least = min((b[1] - a[1] for a, b in pairwise(by_place)), default=math.inf)
    assert least >= (gap if fits else 300 / (len(places) - 1)) - 1e-6
    if all(b - a >= gap for a, b in pairwise(sorted(places))):
        assert found == pytest.approx(places)  # where there is room, every label is where it belongs


@given(st.lists(FINITE, min_size=1, max_size=5000))
def test_a_thinned_curve_keeps_its_ends_and_its_extremes(values: list[float]):
    points = [(float(place), value) for place, value in enumerate(values)]
    kept = thinned(points, most=100)
    assert len(kept) <= 102
    assert (kept[0], kept[-1]) == (points[0], points[-1])
    assert {min(values), max(values)} <= {value for _, value in kept}
    assert [place for place, _ in kept] == sorted(place for place, _ in kept)
    assert len(points) > 100 or kept == points


HOSTILE = [
    "<script>alert(1)</script>",
    '"><image href=x onerror=alert(1)>',
    "a&b",
    "\x1b[31m\n\x00",
    "\ud800",
    "漢字 ✓",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_text_of_any_origin_stays_text(text: str):
    drawing = Drawing(100, text)
    drawing.text(1, 2, text)
    drawing.rect(0, 0, 1, 1, "red", tip=text)
    drawing.dot(0, 0, 1, "red", text)
    for content in (str(drawing.markup), drawing.file):
        root = ElementTree.fromstring(content)  # well-formed, or this raises
        tags = {element.tag.rpartition("}")[2] for element in root.iter()}
        assert tags <= {"svg", "style", "rect", "text", "title", "circle"}
        assert not any(name.startswith("on") for element in root.iter() for name in element.attrib)
        if text.isprintable():
            assert [element.text for element in root.iter() if element.text == text]


def test_a_file_has_the_colours_of_light_and_dark_and_the_page_does_not_repeat_them():
    drawing = Drawing(100, "a picture")
    assert "prefers-color-scheme: dark" in drawing.file
    assert "--text" in drawing.file
    assert "<style" not in str(drawing.markup)


def test_names_are_shortened_to_what_there_is_room_for():
    assert shortened("random_interpolation", 10) == "random_in…"
    assert shortened_name("random_interpolation", 10) == "rando…tion"
    assert shortened_name("bn_googlenet-seed1", 14) != shortened_name("bn_googlenet-seed2", 14)
    assert shortened("plain", 10) == "plain"
    assert len(shortened("a\nb", 30).splitlines()) == 1
