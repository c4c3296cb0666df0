"""BN-Inception against its paper's table: output sizes, widths, and the multiply-adds that the next paper prints."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from platform.models.bn_inception import MODULES, BNInception

# Fig. 5, the pool projections of 4c and 4d as slim has them: inputs, 1x1, 3x3 reduce, 3x3, double reduce, double, proj.
ROWS = {
    "3a": (192, 64, 64, 64, 64, 96, 32),
    "3b": (256, 64, 64, 96, 64, 96, 64),
    "3c": (320, 0, 128, 160, 64, 96, 0),
    "4a": (576, 224, 64, 96, 96, 128, 128),
    "4b": (576, 192, 96, 128, 96, 128, 128),
    "4c": (576, 160, 128, 160, 128, 160, 96),
    "4d": (576, 96, 128, 192, 160, 192, 96),
    "4e": (576, 0, 128, 192, 192, 256, 0),
    "5a": (1024, 352, 192, 320, 160, 224, 128),
    "5b": (1024, 352, 192, 320, 192, 224, 128),
}
CHANNELS = [256, 320, 576, 576, 576, 576, 576, 1024, 1024, 1024]


def on_meta(size: int) -> BNInception:
    with torch.device("meta"):
        return BNInception(1000, size)


def traced(network: BNInception, size: int) -> tuple[dict[str, tuple[int, ...]], int]:
    """The output of each stage, and the multiply-adds of an image."""
    shapes: dict[str, tuple[int, ...]] = {}
    multiply_adds = 0

    def note(name: str) -> Any:
        def hook(layer: nn.Module, _: object, output: Tensor) -> None:
            nonlocal multiply_adds
            shapes[name] = tuple(output.shape[1:])
            if isinstance(layer, nn.Conv2d | nn.Linear):
                multiply_adds += layer.weight.numel() * math.prod(output.shape[2:])

        return hook

    for name, layer in network.named_modules():
        layer.register_forward_hook(note(name))
    with torch.device("meta"):
        network(torch.empty(2, 3, size, size))
    return shapes, multiply_adds


def test_maps_widths_and_multiply_adds_are_the_papers() -> None:
    shapes, multiply_adds = traced(on_meta(224), 224)
    assert shapes["stem.1"] == (64, 56, 56)
    assert shapes["stem"] == (192, 28, 28)
    sides = [28, 28, 14, 14, 14, 14, 14, 7, 7, 7]
    expected = [(channels, side, side) for channels, side in zip(CHANNELS, sides, strict=True)]
    assert [shapes[f"stages.{name}"] for name in MODULES] == expected
    assert multiply_adds / 1e9 == pytest.approx(2.0, abs=0.05)  # Rethinking the Inception Architecture, Table 3


@pytest.mark.parametrize("name", ROWS)
def test_a_row_has_the_convolutions_that_are_printed(name: str) -> None:
    """Inputs, outputs, side of the kernel and stride of each."""
    c_in, one, reduce, three, double_reduce, double, projection = ROWS[name]
    stride = 2 if not one else 1
    expected = [
        *([(c_in, one, 1, 1)] if one else []),
        (c_in, reduce, 1, 1),
        (reduce, three, 3, stride),
        (c_in, double_reduce, 1, 1),
        (double_reduce, double, 3, 1),
        (double, double, 3, stride),
        *([(c_in, projection, 1, 1)] if projection else []),
    ]
    found = [each for each in on_meta(224).stages[name].modules() if isinstance(each, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels, c.kernel_size[0], c.stride[0]) for c in found] == expected


def test_parameters_and_multiply_adds_are_those_of_its_rows() -> None:
    """Weights by hand, each channel of a convolution with the two of its batch norm."""
    weights, norms, adds, side = 3 * 49 * 64 + 64 * 64 + 9 * 64 * 192, 64 + 64 + 192, 0, 28
    adds += 3 * 49 * 64 * 112**2 + (64 * 64 + 9 * 64 * 192) * 56**2
    for c_in, one, reduce, three, double_reduce, double, projection in ROWS.values():
        ones, after = c_in * (one + reduce + double_reduce + projection), side if one else side // 2
        threes = 9 * (reduce * three + double * double), 9 * double_reduce * double
        adds += ones * side**2 + threes[0] * after**2 + threes[1] * side**2
        weights, side = weights + ones + sum(threes), after
        norms += one + reduce + three + double_reduce + 2 * double + projection
    parameters = weights + 2 * norms + 1024 * 1000 + 1000
    network = on_meta(224)
    assert sum(each.numel() for each in network.parameters()) == parameters == 11_194_984
    assert traced(network, 224)[1] == adds + 1024 * 1000 == 2_018_851_840


def test_it_takes_images_from_32_pixels_on() -> None:
    shapes, _ = traced(on_meta(32), 32)
    assert shapes["stages.5b"] == (1024, 1, 1)
    with pytest.raises(ValueError, match=r"image_size is 31; .* at least 32"):
        on_meta(31)


@pytest.mark.parametrize(("size", "sides"), [(79, [10, 5, 3]), (151, [19, 10, 5]), (299, [37, 19, 10])])
def test_maps_of_odd_sides_are_halved_and_rounded_up(size: int, sides: list[int]) -> None:
    shapes, _ = traced(on_meta(size), size)
    assert [shapes[f"stages.{name}"][1] for name in ("3b", "3c", "5b")] == sides


def test_the_last_module_pools_by_the_maximum_as_printed() -> None:
    kinds = {name: {type(layer) for layer in stage.modules()} for name, stage in on_meta(32).stages.items()}
    assert {name for name, found in kinds.items() if nn.MaxPool2d in found} == {"3c", "4e", "5b"}
    assert {name for name, found in kinds.items() if nn.AvgPool2d in found} == set(MODULES) - {"3c", "4e", "5b"}
