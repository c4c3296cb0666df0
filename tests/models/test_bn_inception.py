"""BN-Inception against its paper's table: output sizes, widths, and the multiply-adds that the next paper prints."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from platform.models.bn_inception import MODULES, BNInception

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


def test_weights_follow_the_formula() -> None:
    w, c_in = on_meta(224).stages["3a"], 192
    ones = c_in * (64 + 64 + 64 + 32)
    assert sum(p.numel() for p in w.parameters() if p.ndim > 1) == ones + 9 * (64 * 64 + 64 * 96 + 96 * 96)
    strided = on_meta(224).stages["3c"]
    assert sum(p.numel() for p in strided.parameters() if p.ndim > 1) == 320 * (128 + 64) + 9 * (
        128 * 160 + 64 * 96 + 96 * 96
    )


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
