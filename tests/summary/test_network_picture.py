"""The picture: everything is in it once, nothing covers anything else, areas are costs."""

import re
from dataclasses import replace
from itertools import combinations
from xml.etree import ElementTree

import pytest

from platform.summary.network import Network
from platform.summary.picture.draw import picture_of
from platform.summary.picture.layout import BLOCK_HEIGHT, BLOCK_WIDTH, plan_of
from platform.summary.repeats import groups_of
from tests.summary.tables import googlenet, torchvisions

SVG = "{http://www.w3.org/2000/svg}"


def drawn(network: Network) -> ElementTree.Element:
    return ElementTree.fromstring(picture_of(network).file)


def texts(network: Network) -> list[str]:
    return ["".join(each.itertext()) for each in drawn(network).iter(f"{SVG}text")]


def networks() -> list[Network]:
    return [
        googlenet(),
        torchvisions("inception_v3", 299),
        torchvisions("resnet50"),
        torchvisions("shufflenet_v2_x0_5"),
    ]


@pytest.mark.slow
def test_every_layer_has_a_block_and_no_two_overlap():
    for network in networks():
        for group in groups_of(network.stages):
            plan = plan_of(group.series)
            shown = [layer.number for block in plan.blocks for layer in block.layers]
            shown += [each.layer.number for each in [*plan.bars, *plan.knots]]
            assert sorted(shown) == [layer.number for layer in group.first.layers]
            for one, other in combinations(plan.blocks, 2):
                assert abs(one.x - other.x) > BLOCK_WIDTH or abs(one.y - other.y) > BLOCK_HEIGHT
            for block in plan.blocks:
                assert abs(block.x) + BLOCK_WIDTH / 2 <= plan.width / 2 + 1e-6
                assert 0 <= block.y <= plan.height - BLOCK_HEIGHT


@pytest.mark.slow
def test_nothing_is_outside_of_the_picture():
    for network in networks():
        root = drawn(network)
        width, height = map(float, root.attrib["viewBox"].split()[2:])
        for each in root.iter(f"{SVG}text"):
            letters = len("".join(each.itertext())) * 6.2
            x, y = float(each.attrib["x"]), float(each.attrib["y"])
            left = {"start": x, "middle": x - letters / 2, "end": x - letters}[each.attrib["text-anchor"]]
            assert left >= 0
            assert left + letters <= width + 1, "".join(each.itertext())
            assert 0 < y < height


def test_googlenets_has_its_modules_with_the_widths_of_the_paper_and_both_heads():
    found = texts(googlenet())
    assert found.count("concatenate") == 9
    assert {"3a", "4e", "5b", "auxiliary.4a", "auxiliary.4d"} <= set(found)
    assert found.count("5\u00d75") == 9
    assert {"96", "208", "288", "384"} <= set(found)


@pytest.mark.slow
def test_blocks_that_repeat_are_drawn_once():
    found = texts(torchvisions("vit_b_32"))
    assert found.count("attention") == 2  # and in the legend
    assert "\u00d7 12" in found


def test_the_areas_of_the_squares_are_the_multiply_adds():
    rects = [each.attrib for each in drawn(googlenet()).iter(f"{SVG}rect") if each.attrib.get("fill-opacity") == "0.75"]
    sides = [float(each["width"]) for each in rects if "--conv" in each["style"]]
    costs = [group.multiply_adds for group in groups_of(googlenet().main) if group.multiply_adds]
    assert len(sides) == len(costs)
    for side, cost in zip(sides, costs, strict=True):
        if side > 5:  # sides are written to a tenth of a unit
            assert (side / max(sides)) ** 2 == pytest.approx(cost / max(costs), rel=0.05)


def test_names_of_others_stay_text():
    stage = replace(googlenet().stages[0], name="<script>&", kind="<b>")
    network = replace(googlenet(), label="<x>", stages=[stage, *googlenet().stages[1:]])
    assert "<script>" not in picture_of(network).file
    assert re.search("&lt;script&gt;&amp;", picture_of(network).file)
