"""Normalising image by image gives the bits and the layout of normalising a batch."""

import pytest
import torch

from platform.config.data import DataConfig
from platform.config.sampling import SamplingConfig
from platform.data.normalise import RowNormaliser
from platform.data.pixels import Pixels

CPU = torch.device("cpu")


@pytest.mark.parametrize(("count", "height", "width"), [(3, 37, 41), (1, 32, 32), (0, 8, 8)])
@pytest.mark.parametrize("contiguous", [True, False])
def test_the_bits_are_those_of_the_training(count: int, height: int, width: int, contiguous: bool):
    images = torch.randint(0, 256, (count, height, width, 3), dtype=torch.uint8)
    if not contiguous:
        images = images.flip(2).transpose(1, 2)
    data, nothing = DataConfig(), torch.zeros(count, dtype=torch.bool)
    expected = Pixels(data, CPU).training(images, nothing, torch.zeros(count, 8), SamplingConfig())
    found = RowNormaliser(data.mean, data.std)(images)
    assert torch.equal(found, expected)
    assert found.dtype == expected.dtype
    assert found.is_contiguous(memory_format=torch.channels_last)
