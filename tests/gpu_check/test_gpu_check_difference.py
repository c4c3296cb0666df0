"""Rounding passes; anything else, NaN above all, does not."""

import math

import pytest
import torch

from platform.gpu_check.difference import Difference, largest, relative, same_bits


def test_the_difference_is_a_share_of_the_reference() -> None:
    reference = [torch.full((4,), 3.0), torch.zeros(2)]
    assert relative([torch.full((4,), 3.3), torch.zeros(2)], reference) == pytest.approx(0.1)
    assert relative(reference, reference) == 0


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_passes_no_tolerance(value: float) -> None:
    found = relative([torch.tensor([value])], [torch.tensor([1.0])])
    assert not Difference("x", found, 1e9).passed
    assert not Difference("x", relative([torch.tensor([1.0])], [torch.tensor([value])]), 1e9).passed


def test_of_nothing_everything_is_infinitely_far() -> None:
    assert relative([torch.ones(2)], [torch.zeros(2)]) == math.inf
    assert relative([torch.zeros(2)], [torch.zeros(2)]) == 0


def test_other_shapes_and_numbers_are_errors() -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        relative([torch.ones(2)], [torch.ones(1, 2)])
    with pytest.raises(ValueError, match="zip"):
        relative([], [torch.ones(1)])


def test_the_worst_is_the_one_nearest_to_its_tolerance() -> None:
    small, large, nothing = (
        Difference("small", 0.009, 0.01),
        Difference("large", 0.5, 1.0),
        Difference("none", 0.0, 0.0),
    )
    assert largest([large, small, nothing]) is small
    broken = Difference("nan", math.nan, 1.0)
    assert largest([large, broken]) is broken


def test_bits_are_compared_by_name() -> None:
    weights = {"a": torch.tensor([1.0, 2.0])}
    assert same_bits(weights, {"a": torch.tensor([1.0, 2.0])})
    assert not same_bits(weights, {"a": torch.tensor([1.0, 2.0000002])})
    assert not same_bits(weights, {"b": torch.tensor([1.0, 2.0])})
