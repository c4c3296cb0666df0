"""A network that is wrong in one memory format: in the one that devices are tested in."""

import torch
from torch import Tensor, nn


class Wrong(nn.Module):
    """Channels-last images come out larger by a hundredth."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, classes)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.conv(images).relu()
        off = 1.01 if images.is_contiguous(memory_format=torch.channels_last) else 1.0
        return self.head(maps.mean((2, 3)) * off)


def build(classes: int, image_size: int) -> nn.Module:
    """As `model.name=tests.gpu_check.wrong_network:build`."""
    return Wrong(classes)
