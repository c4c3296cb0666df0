"""Boxes of pixels as masks on the device: what shows another image, or nothing."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from platform.data.pixels import on_device


def inside(boxes_N4: NDArray[np.int64], size: tuple[int, int], device: torch.device) -> Tensor:
    """Which pixels lie in each image's box: bool `[N, 1, H, W]`.

    Args:
        boxes_N4: top, left, bottom, right; the last two are not part of it.
        size: height and width of the images.
        device: of the result.
    """
    height, width = size
    corners_N4 = on_device(torch.from_numpy(boxes_N4), device)
    top, left, bottom, right = (side.view(-1, 1, 1, 1) for side in corners_N4.unbind(1))
    y = torch.arange(height, device=device).view(1, 1, -1, 1)
    x = torch.arange(width, device=device).view(1, 1, 1, -1)
    return (y >= top) & (y < bottom) & (x >= left) & (x < right)
