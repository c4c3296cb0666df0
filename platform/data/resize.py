"""Pixels to pixels of the size asked for, antialiased in uint8."""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor


def resize(pixels: NDArray[np.uint8], size: tuple[int, int], interpolation: str = "bilinear") -> Tensor:
    """Resize uint8 `[H, W, 3]` to uint8 `[height, width, 3]`; bilinear and bicubic are antialiased, as in Pillow.

    Args:
        pixels: RGB.
        size: height and width.
        interpolation: bilinear, bicubic, area or nearest.
    """
    resized_HWC = torch.empty(*size, 3, dtype=torch.uint8)
    resize_into(resized_HWC, pixels, interpolation)
    return resized_HWC


_ANTIALIASED = {
    "bilinear": torch.ops.aten._upsample_bilinear2d_aa.out,
    "bicubic": torch.ops.aten._upsample_bicubic2d_aa.out,
}


def resize_into(place_HWC: Tensor, pixels: NDArray[np.uint8], interpolation: str = "bilinear") -> None:
    """Resize like `resize`, directly into a place in a batch, which saves the copy of F.interpolate.

    Args:
        place_HWC: uint8 `[height, width, 3]`, filled.
        pixels: uint8 `[H, W, 3]`.
        interpolation: bilinear, bicubic, area or nearest.
    """
    size = place_HWC.shape[:2]
    image_HWC = torch.from_numpy(_writable(pixels))
    if image_HWC.shape[:2] == size:
        place_HWC.copy_(image_HWC)
        return
    # With the batch dimension first, torch sees the views as channels_last: its fast uint8 path.
    image_1CHW = image_HWC[None].permute(0, 3, 1, 2)
    if interpolation in _ANTIALIASED:
        place_1CHW = place_HWC[None].permute(0, 3, 1, 2)
        _ANTIALIASED[interpolation](image_1CHW, size, False, None, None, out=place_1CHW)
        return
    if interpolation == "area":
        resized = F.interpolate(image_1CHW.float(), size, mode="area").round_().to(torch.uint8)
    else:
        resized = F.interpolate(image_1CHW, size, mode="nearest-exact")
    place_HWC.copy_(resized[0].permute(1, 2, 0))


def _writable(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return pixels if pixels.flags.writeable else pixels.copy()
