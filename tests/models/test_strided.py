import pytest
import torch
from torch import nn

from platform.config.checks import ConfigError
from platform.models.strided import narrow_strided, require_none_narrow


def test_only_narrow_1x1_convolutions_with_a_stride_are_named():
    network = nn.ModuleDict(
        {
            "narrow": nn.Conv2d(15, 8, 1, stride=2),
            "one_way": nn.Conv2d(4, 8, 1, stride=(1, 2)),
            "wide": nn.Conv2d(16, 8, 1, stride=2),
            "unit": nn.Conv2d(8, 8, 1),
            "square": nn.Conv2d(8, 8, 3, stride=2, padding=1),
            "grouped": nn.Conv2d(16, 16, 1, stride=2, groups=4),
        }
    )
    assert narrow_strided(network) == ["narrow", "one_way"]


def test_the_message_names_them_and_the_remedy():
    require_none_narrow([], "resnet18")
    with pytest.raises(ConfigError, match=r"resnet18 has .* \(a, b, c and 1 more\).*set training.channels_last=false"):
        require_none_narrow(["a", "b", "c", "d"], "resnet18")


def test_other_layouts_of_them_have_the_right_gradient():
    """What the remedy relies on."""
    generator = torch.Generator().manual_seed(0)
    for channels, layout in ((3, torch.contiguous_format), (15, torch.contiguous_format), (16, torch.channels_last)):
        layer = nn.Conv2d(channels, 8, 1, stride=2, bias=False).to(memory_format=layout)
        images = torch.randn(4, channels, 56, 56, generator=generator).contiguous(memory_format=layout)
        gradient = torch.randn(4, 8, 28, 28, generator=generator)
        layer(images).backward(gradient)
        expected = torch.einsum("nohw,nihw->oi", gradient.double(), images[:, :, ::2, ::2].double())
        assert layer.weight.grad is not None
        found = layer.weight.grad.flatten(1).double()
        assert float((found - expected).norm() / expected.norm()) < 1e-5
