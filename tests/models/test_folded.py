"""Batch norm folded into convolutions: the same outputs, and none of it left where it can go."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from platform.config.models import BNInceptionConfig, CifarFastConfig, GoogLeNetConfig, ModelConfig
from platform.models.build import build
from platform.models.folded import folded


def trained(network: nn.Module) -> nn.Module:
    """With statistics, scales and shifts that are not those of a new network."""
    generator = torch.Generator().manual_seed(1)
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            assert norm.running_mean is not None
            assert norm.running_var is not None
            norm.running_mean.copy_(torch.randn(norm.num_features, generator=generator) * 0.1)
            norm.running_var.copy_(torch.rand(norm.num_features, generator=generator) + 0.5)
            if norm.affine:
                norm.weight.data.copy_(torch.rand(norm.num_features, generator=generator) + 0.5)
                norm.bias.data.copy_(torch.randn(norm.num_features, generator=generator) * 0.1)
    return network.eval()


def norms(network: nn.Module) -> int:
    return sum(isinstance(each, nn.BatchNorm2d) for each in network.modules())


@pytest.mark.parametrize(
    ("model", "left"),
    [(GoogLeNetConfig(width=0.1, batch_norm=True), 0), (BNInceptionConfig(), 0), (CifarFastConfig(), 3)],  # after pools
)
@torch.inference_mode()
def test_our_networks_lose_batch_norm_after_convolutions_and_keep_their_outputs(model: ModelConfig, left: int) -> None:
    network = trained(build(model, 10, 64, 0))
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    before = copy.deepcopy(network.state_dict())
    found = folded(network)
    torch.testing.assert_close(found(images), network(images), rtol=1e-3, atol=1e-4)
    assert norms(network) > left
    assert norms(found) == left
    torch.testing.assert_close(network.state_dict(), before, rtol=0, atol=0)


class Odd(nn.Module):
    """Batch norms that must stay: of maps that others take, too, of no convolution, and one that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.second, self.twice = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.conv(x)
        x = torch.relu(self.norm(maps)) + maps
        return self.twice(self.twice(self.second(x)))


@torch.inference_mode()
def test_batch_norm_that_does_not_belong_to_one_convolution_stays() -> None:
    torch.manual_seed(0)
    network = trained(Odd())
    images = torch.randn(2, 3, 8, 8)
    found = folded(network)
    assert norms(found) == 2
    torch.testing.assert_close(found(images), network(images))


class Looks(nn.Module):
    def forward(self, images: Tensor) -> Any:
        return images * 2 if images.sum() > 0 else images


def test_a_network_that_cannot_be_traced_is_left_alone_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    network = Looks()
    assert folded(network) is network
    assert "evaluation.fold_batch_norm is without effect" in caplog.text
