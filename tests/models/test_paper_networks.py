"""Inception-v2, Network in Network, AlexNet, VGG16 and GoogLeNet's auxiliary heads against what their papers print."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from platform.config.checks import ConfigError
from platform.config.models import GoogLeNetConfig, NINConfig, model_of
from platform.models.build import build
from platform.models.dropout import layers
from platform.models.googlenet import GoogLeNet
from platform.models.inception_v2 import InceptionV2
from platform.models.nin import NIN

META = torch.device("meta")
# Table 1: what each row takes in, the first's input aside.
STEM = [(32, 149), (32, 147), (64, 147), (64, 73), (80, 71), (192, 35), (288, 35)]
STAGES = [(288, 35)] * 3 + [(768, 17)] * 6 + [(1280, 8)] + [(2048, 8)] * 2


def counted(network: nn.Module, size: int) -> tuple[int, int]:
    """Parameters without auxiliary heads, and multiply-adds of convolutions and linear layers for one image."""
    adds = 0

    def hook(layer: Any, _: object, output: Tensor) -> None:
        nonlocal adds
        adds += layer.weight.numel() * (output[0, 0].numel() if isinstance(layer, nn.Conv2d) else 1)

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(hook)
    network.eval()(torch.empty(1, 3, size, size, device=META))
    return sum(p.numel() for name, p in network.named_parameters() if "auxiliary" not in name), adds


@pytest.mark.parametrize("factorised", [True, False])
def test_the_maps_of_inception_v2_are_those_of_table_1(factorised: bool) -> None:
    with META:
        network = InceptionV2(factorised_stem=factorised)
    x, found = torch.empty(1, 3, 299, 299, device=META), []
    for layer in network.stem:
        x = layer(x)
        found.append((x.shape[1], x.shape[2]))
    assert found == (STEM if factorised else STEM[2:])
    found = []
    for stage in network.stages.values():
        x = stage(x)
        found.append((x.shape[1], x.shape[2]))
    assert found == STAGES
    assert network.classifier.in_features == 2048


def test_the_modules_of_inception_v2_have_the_released_widths() -> None:
    """Outputs of each convolution, branch after branch; of the five modules at 17x17 the middle three are alike."""
    with META:
        stages = InceptionV2().stages
    found = {
        name: [layer.out_channels for layer in stage.modules() if isinstance(layer, nn.Conv2d)]
        for name, stage in stages.items()
    }
    at_35, at_8 = [64, 48, 64, 64, 96, 96, 64], [320, 384, 384, 384, 448, 384, 384, 384, 192]
    expected = {f"35{letter}": at_35 for letter in "abc"} | {"17": [384, 64, 96, 96]}
    for letter, width in zip("abcde", (128, 160, 160, 160, 192), strict=True):
        expected[f"17{letter}"] = [192, *[width] * 2, 192, *[width] * 4, 192, 192]
    assert found == expected | {"8": [192, 320, *[192] * 4], "8a": at_8, "8b": at_8}


def test_inception_v2_costs_more_than_its_paper_prints() -> None:
    """3.8 and, with the factorised stem, 4.8 billion; the printed figures do not follow from released widths either, of
    which Inception-v3 is 5.71 billion. The step of the stem is 0.41 billion here."""
    with META:
        costs = [counted(InceptionV2(factorised_stem=factorised), 299) for factorised in (False, True)]
    assert costs == [(26_082_472, 6_119_866_560), (26_101_704, 6_533_196_384)]
    seven, three = 49 * 3 * 64 * 147**2, 27 * 32 * 149**2 + 9 * 32 * 32 * 147**2 + 9 * 32 * 64 * 147**2
    assert costs[1][1] - costs[0][1] == three - seven


def test_only_the_auxiliary_head_of_inception_v3_has_batch_norm_twice() -> None:
    norms = []
    for batch_norm in (False, True):
        with META:
            head = InceptionV2(10, 75, auxiliary_batch_norm=batch_norm).auxiliary["17e"]
        norms.append(sum(isinstance(layer, nn.BatchNorm2d) for layer in head.modules()))
    assert norms == [1, 2]
    with pytest.raises(ValueError, match="image_size is 74"):
        InceptionV2(10, 74)


NIN_CIFAR = """
conv 3-192 5/1+2, conv 192-160 1/1+0, conv 160-96 1/1+0, MaxPool2d 3/2, Dropout 0.5,
conv 96-192 5/1+2, conv 192-192 1/1+0, conv 192-192 1/1+0, AvgPool2d 3/2, Dropout 0.5,
conv 192-192 3/1+1, conv 192-192 1/1+0, conv 192-1000 1/1+0
"""
NIN_IMAGENET = """
conv 3-96 11/4+0, conv 96-96 1/1+0, conv 96-96 1/1+0, MaxPool2d 3/2,
conv 96-256 5/1+2, conv 256-256 1/1+0, conv 256-256 1/1+0, MaxPool2d 3/2,
conv 256-384 3/1+1, conv 384-384 1/1+0, conv 384-384 1/1+0, MaxPool2d 3/2, Dropout 0.5,
conv 384-1024 3/1+1, conv 1024-1024 1/1+0, conv 1024-1000 1/1+0
"""


def written(layer: Any) -> str:
    """A layer in a few words: inputs and outputs, kernel/stride, padding."""
    if isinstance(layer, nn.Conv2d):
        shape = f"{layer.in_channels}-{layer.out_channels} {layer.kernel_size[0]}/{layer.stride[0]}"
        return f"conv {shape}+{layer.padding[0]}"
    if isinstance(layer, nn.Dropout):
        return f"Dropout {layer.p}"
    return f"{type(layer).__name__} {layer.kernel_size}/{layer.stride}"


@pytest.mark.parametrize(("version", "layers"), [("cifar", NIN_CIFAR), ("imagenet", NIN_IMAGENET)])
def test_the_layers_of_network_in_network(version: str, layers: str) -> None:
    with META:
        network = NIN(1000, version)
    found = [*network.features, network.classifier]
    assert ", ".join(written(each) for each in found if not isinstance(each, nn.ReLU)) == " ".join(layers.split())
    relus = [place for place, each in enumerate(found) if isinstance(each, nn.ReLU)]
    assert relus == [place + 1 for place, each in enumerate(found[:-1]) if isinstance(each, nn.Conv2d)]


def test_network_in_network_of_32_pixels() -> None:
    with META:
        network = NIN(10)
    weights = [75 * 192, 192 * 160, 160 * 96, 25 * 96 * 192, *[192 * 192] * 2, 9 * 192 * 192, 192 * 192, 192 * 10]
    biases = 192 + 160 + 96 + 3 * 192 + 2 * 192 + 10
    positions = [*[32**2] * 3, *[16**2] * 3, *[8**2] * 3]  # the poolings halve
    assert counted(network, 32) == (sum(weights) + biases, sum(w * p for w, p in zip(weights, positions, strict=True)))
    assert sum(weights) + biases == 966_986


def test_network_in_network_of_imagenet() -> None:
    with META:
        network = NIN(1000, "imagenet")
    assert counted(network, 224) == (7_595_176, 1_100_188_800)
    assert pytest.approx(29, abs=0.1) == 7_595_176 * 4 / 2**20  # MB, as Caffe's model zoo has it
    with pytest.raises(ConfigError, match=r"model\.version is 'svhn'; choose one of cifar, imagenet"):
        NINConfig(version="svhn")


@pytest.mark.parametrize(
    ("name", "parameters", "multiply_adds"),
    [("alexnet", 61_100_840, 714_188_480), ("vgg16", 138_357_544, 15_470_264_320)],
)
def test_alexnet_and_vgg16_are_torchvisions(name: str, parameters: int, multiply_adds: int) -> None:
    """VGG16's paper prints 138 million. AlexNet's has 60 million in two towers."""
    with META:
        network = build(model_of({"name": f"torchvision/{name}"}), 1000, 224, seed=0)
    assert counted(network, 224) == (parameters, multiply_adds)


def test_googlenets_heads_are_chosen_and_the_rest_stays_as_it_was() -> None:
    networks = {
        which: build(GoogLeNetConfig(width=0.1, auxiliary=which), 5, 32, seed=3)
        for which in ("none", "first", "second", "both")
    }
    whole = networks["both"].state_dict()
    for which, heads in {"none": [], "first": ["4a"], "second": ["4d"], "both": ["4a", "4d"]}.items():
        network = networks[which]
        assert isinstance(network, GoogLeNet)
        assert list(network.auxiliary) == heads
        assert all(torch.equal(weights, whole[name]) for name, weights in network.state_dict().items())
        assert layers(network)[-1].number == 2  # of the main classifier's dropout: it has the same masks
        assert len(network.train()(torch.rand(2, 3, 32, 32))) == 1 + len(heads)
    with pytest.raises(ConfigError, match=r"model\.auxiliary is 'third'; choose one of none, first, second, both"):
        GoogLeNetConfig(auxiliary="third")
