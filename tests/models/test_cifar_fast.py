"""The network of airbench94: maps, weights, what it begins as."""

import pytest
import torch
from torch import nn

from platform.config.models import CifarFastConfig
from platform.models.build import build
from platform.models.cifar_fast import CifarFast


def test_maps_and_weights_are_the_papers():
    network, shapes = CifarFast(), []
    for block in network.blocks:
        block.register_forward_hook(lambda _layer, _inputs, output: shapes.append(tuple(output.shape)))
    assert network(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    assert shapes == [(2, 64, 15, 15), (2, 256, 7, 7), (2, 256, 3, 3)]
    convolutions = 9 * (24 * 64 + 64 * 64 + 64 * 256 + 3 * 256 * 256)
    batch_norms = 2 * 2 * (64 + 256 + 256)
    assert sum(each.numel() for each in network.parameters()) == 24 * (12 + 1) + convolutions + batch_norms + 2560


def test_its_layers_are_the_papers():
    network = CifarFast()
    block = ["Conv2d", "MaxPool2d", "BatchNorm2d", "GELU", "Conv2d", "BatchNorm2d", "GELU"]
    assert [type(layer).__name__ for layer in network.first] == ["Conv2d", "GELU"]
    assert [[type(layer).__name__ for layer in each.children()] for each in network.blocks] == 3 * [block]
    assert type(network.pool).__name__ == "AdaptiveMaxPool2d"
    images = torch.rand(2, 3, 32, 32)
    expected = network.classifier(network.blocks(network.first(images)).amax((2, 3))) / 9
    torch.testing.assert_close(network(images), expected)


def test_a_convolution_begins_by_passing_its_input_on():
    *_, second = [each for each in CifarFast().blocks[1].modules() if isinstance(each, nn.Conv2d)]
    images = torch.rand(1, 256, 7, 7)
    torch.testing.assert_close(second(images), images)


def test_it_takes_images_from_32_pixels_on():
    assert CifarFast(image_size=64)(torch.rand(1, 3, 64, 64)).shape == (1, 10)
    with pytest.raises(ValueError, match="image_size is 31; give at least 32"):
        build(CifarFastConfig(), 10, 31, seed=0)
