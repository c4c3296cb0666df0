"""Multiply-adds and parameters: by the formula, and as the papers print them."""

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from platform.config.models import InceptionV3Config, ModelConfig
from platform.models.rehearsal import on_meta
from platform.summary.network import network_of
from tests.summary.tables import googlenet, recorded, torchvisions

# Table 1 of GoogLeNet: weights without biases, and multiply-adds as printed (those of conv1 by the formula).
TABLE_1 = {
    "stem.0": (9_408, 118e6), "stem.2": (4_096, None), "stem.3": (110_592, None), "3a": (163_328, 128e6),
    "3b": (388_096, 304e6), "4a": (375_552, 73e6), "4b": (448_512, 88e6), "4c": (509_440, 100e6),
    "4d": (604_672, 119e6), "4e": (867_328, 170e6), "5a": (1_042_432, 51.1e6), "5b": (1_442_816, 71e6),
    "classifier": (1_024_000, 1.024e6),
}  # fmt: skip


class Attention(nn.Module):
    """A single head over the places of a map of 8 channels."""

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        weights = (tokens @ tokens.transpose(1, 2)).softmax(-1)
        return (weights @ tokens).mean(1)


def counted(*layers: nn.Module) -> list[int]:
    """Multiply-adds of each operation that has any."""
    recording = recorded(nn.Sequential(*layers), 16)
    return [each.multiply_adds for each in recording.operations if each.multiply_adds]


def test_a_convolution_costs_its_window_for_each_input_channel_and_place():
    assert counted(nn.Conv2d(3, 8, (1, 7), stride=2, padding=(0, 3))) == [1 * 7 * 3 * 8 * 8 * 8]


def test_groups_divide_the_cost():
    grouped = counted(nn.Conv2d(3, 12, 1), nn.Conv2d(12, 24, 3, padding=1, groups=4), nn.Conv2d(24, 24, 3, groups=24))
    assert grouped == [3 * 12 * 256, 9 * 12 // 4 * 24 * 256, 9 * 24 * 14 * 14]


def test_a_linear_layer_costs_its_weights_and_biases_nothing():
    assert counted(nn.AvgPool2d(16), nn.Flatten(), nn.Linear(3, 50, bias=True)) == [3 * 50]


def test_attention_costs_two_products_of_tokens():
    assert counted(nn.Conv2d(3, 8, 4, stride=4), Attention()) == [16 * 3 * 8 * 16, 16 * 16 * 8, 16 * 16 * 8]


@pytest.mark.slow
def test_googlenet_is_the_papers_table_row_by_row():
    found = {stage.name: stage for stage in googlenet().main}
    for name, (weights, multiply_adds) in TABLE_1.items():
        assert found[name].weights == weights, name
        if multiply_adds:
            assert found[name].multiply_adds == pytest.approx(multiply_adds, rel=0.011), name
    assert found["stem.2"].weights + found["stem.3"].weights == 114_688
    assert found["stem.2"].multiply_adds + found["stem.3"].multiply_adds == pytest.approx(360e6, rel=0.001)
    assert googlenet().weights == 6_990_272
    assert googlenet().multiply_adds == pytest.approx(1.58e9, rel=0.002)
    assert (googlenet().depth, googlenet().depth_with_pools) == (22, 27)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size", "giga"), [("resnet50", 224, 4.09), ("inception_v3", 299, 5.71)])
def test_networks_of_torchvision_cost_what_it_says(name: str, size: int, giga: float):
    assert torchvisions(name, size).multiply_adds / 1e9 == pytest.approx(giga, abs=0.005)


@pytest.mark.slow
def test_our_inception_v3_costs_what_torchvisions_does():
    ours, theirs = network_of(InceptionV3Config(), 1000, 299), torchvisions("inception_v3", 299)
    assert (ours.multiply_adds, ours.parameters) == (theirs.multiply_adds, theirs.parameters)
    assert ours.depth == 48


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), [("shufflenet_v2_x0_5", 64), ("vit_b_32", 64), ("swin_t", 64)])
def test_the_sum_is_that_of_torchs_own_counter(name: str, size: int):
    """On the meta device, as only shapes count."""
    model = ModelConfig(f"torchvision/{name}")
    network = network_of(model, 10, size) if name != "vit_b_32" else torchvisions(name, 224)
    real = on_meta(model, network.classes, network.image_size).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        real(torch.zeros(1, 3, network.image_size, network.image_size, device="meta"))
    assert network.multiply_adds == counter.get_total_flops() // 2
    assert network.parameters == sum(each.numel() for each in real.parameters())


@pytest.mark.parametrize("layer", [nn.ConvTranspose2d(3, 8, 3, stride=2), nn.Conv2d(3, 9, 3, groups=3, dilation=2)])
def test_less_usual_convolutions_are_counted_as_torch_counts_them(layer: nn.Module):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        layer(torch.zeros(1, 3, 16, 16))
    assert counted(layer) == [counter.get_total_flops() // 2]


def test_fused_attention_is_counted_as_torch_counts_it():
    class Fused(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            tokens = x.flatten(2).transpose(1, 2).unsqueeze(1)
            return nn.functional.scaled_dot_product_attention(tokens, tokens[:, :, :5], tokens[:, :, :5])[:, 0]

    network = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), Fused())
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, 16, 16))
    assert sum(counted(*network)) == counter.get_total_flops() // 2
