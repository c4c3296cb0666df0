"""Layers as series and branches: whatever feeds what."""

import random

import pytest

from platform.summary.branches import Series, Tangle, series_of, text_of
from platform.summary.layers import ADD, CONCAT, CONV, MULTIPLY, Layer


def layers(*given: tuple[str, list[int], bool]) -> list[Layer]:
    """Of kind, inputs, and whether the stage's input goes in; widths are 10, 11, ..."""
    return [Layer(n, kind, kind, 10 + n, inputs, outside) for n, (kind, inputs, outside) in enumerate(given)]


CASES = {
    "a chain": (layers((CONV, [], True), (CONV, [0], False)), "10-11"),
    "a residual block": (layers((CONV, [], True), (CONV, [0], False), (ADD, [1], True)), "10-11 + skip"),
    "a projection": (layers((CONV, [], True), (CONV, [], True), (ADD, [0, 1], False)), "10 + 11"),
    "two blocks": (
        layers((CONV, [], True), (ADD, [0], True), (CONV, [1], False), (ADD, [1, 2], False)),
        "(10 + skip)-(12 + skip)",
    ),
    "a split within a branch": (
        layers(
            (CONV, [], True),
            (CONV, [0], False),
            (CONV, [0], False),
            (CONCAT, [1, 2], False),
            (CONV, [], True),
            (CONCAT, [3, 4], False),
        ),
        "10-(11 | 12) | 14",
    ),
    "a gate": (layers((CONV, [], True), (CONV, [0], False), (MULTIPLY, [0, 1], False)), "10-(11 * skip)"),
}


@pytest.mark.parametrize("name", CASES)
def test_told_in_a_line(name: str):
    given, text = CASES[name]
    assert text_of(series_of(given)) == text


def test_what_is_no_series_of_branches_is_one_block_of_its_layers():
    """Each layer reads all before it."""
    given = layers((CONV, [], True), (CONV, [0], True), (CONCAT, [0, 1], False), (CONV, [0, 2], False))
    tangle, last = series_of(given).items
    assert isinstance(tangle, Tangle)
    assert [layer.number for layer in tangle.layers] == [0, 1, 2]
    assert last is given[3]


def test_no_layer_is_lost_whatever_the_connections():
    drawn = random.Random(0)
    for _ in range(300):
        given = []
        for number in range(drawn.randint(1, 9)):
            inputs = sorted(drawn.sample(range(number), min(number, drawn.randint(0, 3))))
            kind = CONV if len(inputs) < 2 else CONCAT
            given.append(Layer(number, kind, kind, 10 + number, inputs, not inputs or drawn.random() < 0.3))
        assert sorted(_numbers(series_of(given))) == list(range(len(given)))


def _numbers(series: Series) -> list[int]:
    found: list[int] = []
    for item in series.items:
        if isinstance(item, Layer):
            found.append(item.number)
        elif isinstance(item, Tangle):
            found += [each.number for each in item.layers]
        else:
            found += [number for branch in item.branches for number in _numbers(branch)]
            found += [item.joint.number] if item.joint else []
    return found
