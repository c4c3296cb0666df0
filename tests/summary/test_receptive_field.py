"""Receptive fields: by hand, and by what really reaches a value in small networks."""

import pytest
import torch
from torch import Tensor, nn

from platform.models.branches import Branches, Conv, Pool, Split
from tests.summary.tables import googlenet, recorded, stages, torchvisions


def field(network: nn.Module, image_size: int = 32) -> str:
    recording = recorded(network, image_size)
    found = recording.operations[recording.output].receptive_field
    return found.text if found else "?"


def measured(network: nn.Sequential, image_size: int) -> str:
    """The pixels on which the value in the middle of the map depends, by gradients."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.ones_(module.weight)
    images = torch.rand(1, 3, image_size, image_size, requires_grad=True)
    out = network.eval()(images)
    height, width = out.shape[2:]
    out[0, :, height // 2, width // 2].sum().backward()
    assert images.grad is not None
    touched = images.grad[0].abs().sum(0) > 0
    rows, columns = touched.any(1).nonzero().flatten(), touched.any(0).nonzero().flatten()
    spans = [int(each[-1] - each[0]) + 1 for each in (rows, columns)]
    return str(spans[0]) if spans[0] == spans[1] else f"{spans[0]}x{spans[1]}"


NETWORKS = {
    "strides and pools": ([nn.Conv2d(3, 4, 7, 2, 3), nn.AvgPool2d(3, 2), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3)], "27"),
    "dilation": ([nn.Conv2d(3, 4, 3, dilation=3), nn.Conv2d(4, 4, 3, stride=2), nn.Conv2d(4, 4, 3)], "13"),
    "one direction": ([nn.Conv2d(3, 4, (1, 7)), nn.Conv2d(4, 4, (3, 1), stride=(2, 1)), nn.Conv2d(4, 4, 3)], "7x9"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_it_is_what_gradients_reach(name: str):
    layers, wanted = NETWORKS[name]
    network = nn.Sequential(*layers)
    assert field(network, 96) == measured(network, 96) == wanted


def test_of_branches_it_is_the_widest():
    branches = [[Conv(4)], [Conv(4), Conv(4, 5)], [Conv(4), Split((Conv(4, 1, 7), Conv(4, 3, 1)))], [Pool("average")]]
    network = nn.Sequential(Branches(3, branches))
    assert field(network) == measured(network, 32) == "5x7"


def test_a_mean_over_the_map_sees_all_of_its_windows():
    network = nn.Sequential(nn.Conv2d(3, 4, 5, stride=3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    assert field(network, 32) == "32"  # ten windows: 5 + 9 * 3


def test_squeeze_and_excitation_sees_the_whole_map():
    from torchvision.ops import SqueezeExcitation

    assert field(nn.Sequential(nn.Conv2d(3, 8, 3), SqueezeExcitation(8, 4))) == "32"  # 30 windows of 3


@pytest.mark.slow
def test_googlenets_and_vggs_are_those_computed_by_hand():
    found = {stage.name: stage.receptive_field.text for stage in googlenet().stages if stage.receptive_field}
    wanted = {"stem.0": 7, "stem.1": 11, "stem.3": 19, "stem.4": 27, "3a": 27 + 4 * 8, "3b": 91, "4a": 171, "5b": 715}
    assert {name: found[name] for name in wanted} == {name: str(size) for name, size in wanted.items()}
    last_pool = [stage for stage in torchvisions("vgg16").stages if "features" in stage.name][-1]
    assert last_pool.receptive_field is not None
    assert last_pool.receptive_field.text == "212"


class _Tokens(nn.Module):
    """Attention over windows of so many tokens each."""

    def __init__(self, window: int) -> None:
        super().__init__()
        self.window = window

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2).unflatten(1, (-1, self.window))
        weights = (tokens @ tokens.transpose(-1, -2)).softmax(-1)
        return (weights @ tokens).flatten(1, 2).mean(1)


def test_attention_sees_the_whole_image_and_windows_of_it_are_not_guessed():
    assert field(nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), _Tokens(64))) == "all"
    assert field(nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), _Tokens(16))) == "?"


def test_shifted_maps_are_not_guessed():
    class Rolled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.roll(x, 3, dims=2)

    (conv,) = stages(nn.Sequential(nn.Conv2d(3, 4, 3), Rolled()))
    assert conv.receptive_field is None
