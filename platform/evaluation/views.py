"""The views of a validation image, as the paper tests: 4 scales x 3 squares x 6 crops x 2 mirror images = 144.

Views are numbered so that the first is the centre crop, the first 10 are AlexNet's ten of the smallest scale's centre
square, the first 12 have that square resized and its mirror image as well, and all 144 are GoogLeNet's: a number of
views is a prefix. Mirror images are made on the device, so an image is rendered into half as many crops (one for a
single view).

The paper of Inception-v3 gives a figure for 12 crops and does not say which. Assumed are the six of one square, and
their mirror images.
"""

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from platform.data.decode import EncodedImage
from platform.data.resize import resize

SCALES = (256 / 224, 288 / 224, 320 / 224, 352 / 224)  # shorter side of the image to the side of the input
CORNERS_AND_CENTRE = ("centre", "top left", "top right", "bottom left", "bottom right")
RENDERED = {1: 1, 10: 5, 12: 6, 144: 72}  # views -> crops without mirror images
RUNS = ((0, 5), (5, 6), (6, 72))  # of rendered crops, each followed by its mirror images
BEFORE_12 = [*range(11), 77, *range(11, 77), *range(78, 144)]  # where each of the 144 was before there were 12
LONG = 32  # times the shorter side: from there on an image is enlarged in strips, for it never to be there whole
STRIP_PIXELS = 2**22


def render(image: EncodedImage, size: int, views: int) -> Tensor:
    """The crops of an image before mirroring, uint8 `[RENDERED[views], size, size, 3]`.

    Args:
        image: as it is in the shard.
        size: height and width in pixels of each crop.
        views: 1, 10, 12 or 144.
    """
    pixels = image.decode()
    crops: list[Tensor] = []
    for scale in SCALES if views == 144 else SCALES[:1]:
        short = round(size * scale)
        for square in _squares(pixels, short, centre_only=views < 144):
            crops += _crops(square, size, corners=views > 1)
            if views >= 12:
                crops.append(resize(square.numpy(), (size, size)))
    return torch.stack(crops)


def with_mirrors(images: Tensor, views: int) -> Tensor:
    """`[N, RENDERED[views], 3, H, W]` on the device -> all views in their order, `[N, views, 3, H, W]`."""
    return in_order(images, images.flip(-1), views)


def in_order(own: Tensor, mirrored: Tensor, views: int) -> Tensor:
    """What belongs to the rendered crops and to their mirror images, `[N, RENDERED[views], ...]` each, by view."""
    if views == 1:
        return own
    runs = [slice(first, last) for first, last in RUNS if last <= RENDERED[views]]
    return torch.cat([images[:, run] for run in runs for images in (own, mirrored)], dim=1)


@lru_cache(maxsize=256)
def scaled_size(height: int, width: int, short: int) -> tuple[int, int]:
    """(height, width) with the shorter side `short`, the other in proportion."""
    if height <= width:
        return short, max(short, round(width * short / height))
    return max(short, round(height * short / width)), short


def _squares(pixels: NDArray[np.uint8], side: int, *, centre_only: bool) -> list[Tensor]:
    """Of an image resized to the shorter side `side`: the centre square, then left and right (top and bottom of a
    portrait)."""
    height, width = scaled_size(*pixels.shape[:2], side)
    slack = max(height, width) - side
    offsets = [slack // 2] if centre_only else [slack // 2, 0, slack]
    if slack > LONG * side:
        return _squares_in_strips(pixels, (height, width), offsets)
    image = resize(pixels, (height, width))
    if width >= height:
        return [image[:, offset : offset + side] for offset in offsets]
    return [image[offset : offset + side] for offset in offsets]


def _squares_in_strips(pixels: NDArray[np.uint8], size: tuple[int, int], offsets: list[int]) -> list[Tensor]:
    """The same, bit by bit: a resize is one pass along the rows and then one along the columns, each line by itself."""
    height, width = size
    side, lines = min(size), max(1, STRIP_PIXELS // max(size))
    strips: list[list[Tensor]] = [[] for _ in offsets]
    if width >= height:
        for first in range(0, len(pixels), lines):
            part = pixels[first : first + lines]
            wide = resize(part, (len(part), width))
            for strip, offset in zip(strips, offsets, strict=True):
                strip.append(wide[:, offset : offset + side].clone())
        return [resize(torch.cat(strip).numpy(), (side, side)) for strip in strips]
    narrow = resize(pixels, (len(pixels), side)).numpy()
    for first in range(0, side, lines):
        part = narrow[:, first : first + lines]
        tall = resize(part, (height, part.shape[1]))
        for strip, offset in zip(strips, offsets, strict=True):
            strip.append(tall[offset : offset + side].clone())
    return [torch.cat(strip, 1) for strip in strips]


def _crops(square: Tensor, size: int, *, corners: bool) -> list[Tensor]:
    """Centre crop, then the four corners."""
    slack = square.shape[0] - size
    places = [(slack // 2, slack // 2), (0, 0), (0, slack), (slack, 0), (slack, slack)]
    return [square[top : top + size, left : left + size] for top, left in (places if corners else places[:1])]
