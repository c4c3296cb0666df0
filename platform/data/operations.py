"""The fourteen operations of RandAugment and TrivialAugment, many images at a time, each of its own strength.

In: uint8 `[N, 3, H, W]` on any device and one strength an image, in torchvision's units. Out: the same with the pixels
that torchvision's kernels give (`torchvision.transforms.v2`), which take one strength for all: the two operations
without one are those themselves. What comes from outside of an image is black.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from platform.data.pixels import on_device

Strengths = NDArray[np.float64]
Operation = Callable[[Tensor, Strengths], Tensor]


def identity(images: Tensor, strengths_N: Strengths) -> Tensor:
    """As it is."""
    return images


def shear_x(images: Tensor, strengths_N: Strengths) -> Tensor:
    """Rows shifted by strength x their place; the top left corner stays."""
    return _resampled(images, _affine(xy=strengths_N, x=strengths_N * images.shape[2] / 2))


def shear_y(images: Tensor, strengths_N: Strengths) -> Tensor:
    """Columns shifted by strength x their place; the top left corner stays."""
    return _resampled(images, _affine(yx=strengths_N, y=strengths_N * images.shape[3] / 2))


def translate_x(images: Tensor, strengths_N: Strengths) -> Tensor:
    """To the right by whole pixels."""
    return _resampled(images, _affine(x=-np.trunc(strengths_N)))


def translate_y(images: Tensor, strengths_N: Strengths) -> Tensor:
    """Down by whole pixels."""
    return _resampled(images, _affine(y=-np.trunc(strengths_N)))


def rotate(images: Tensor, strengths_N: Strengths) -> Tensor:
    """Anticlockwise about the centre, in degrees."""
    cos, sin = np.cos(np.radians(strengths_N)), np.sin(np.radians(strengths_N))
    return _resampled(images, _affine(xx=cos, xy=-sin, yx=sin, yy=cos))


def brightness(images: Tensor, strengths_N: Strengths) -> Tensor:
    """Times 1 + strength."""
    return _bytes(images * _column(1 + strengths_N, images.device))


def colour(images: Tensor, strengths_N: Strengths) -> Tensor:
    """Away from its own grey by 1 + strength."""
    return _blend(images, _grey(images), strengths_N)


def contrast(images: Tensor, strengths_N: Strengths) -> Tensor:
    """Away from its mean grey by 1 + strength."""
    mean = _grey(images).double().mean((1, 2, 3), keepdim=True).float()  # exact, in whatever order it is summed
    return _blend(images, mean, strengths_N)


def sharpness(images: Tensor, strengths_N: Strengths) -> Tensor:
    """Away from its blurred self by 1 + strength; the border stays."""
    if min(images.shape[2:]) <= 2:
        return images
    kernel = torch.full((3, 1, 3, 3), 1 / 13, device=images.device)
    kernel[:, :, 1, 1] = 5 / 13
    sharp = images.float()
    inner = sharp[:, :, 1:-1, 1:-1]
    blurred = F.conv2d(sharp, kernel, groups=3).round_()  # never half way between two: a sum of whole numbers over 13
    inner.copy_(_sum(inner, blurred - inner, _column(-strengths_N, images.device)))
    return _bytes(sharp)


def posterise(images: Tensor, strengths_N: Strengths) -> Tensor:
    """The upper bits of each value, as many as the strength says."""
    masks_N = (0xFF00 >> strengths_N.astype(np.int64)) & 0xFF
    return images & _column(masks_N, images.device, torch.uint8)


def solarise(images: Tensor, strengths_N: Strengths) -> Tensor:
    """Values of 255 x strength and above inverted."""
    return torch.where(images >= _column(255 * strengths_N, images.device), 255 - images, images)


def autocontrast(images: Tensor, strengths_N: Strengths) -> Tensor:
    """Each channel stretched to 0 to 255."""
    from torchvision.transforms.v2.functional import autocontrast_image  # seconds that runs without these need not

    return autocontrast_image(images)


def equalise(images: Tensor, strengths_N: Strengths) -> Tensor:
    """Each channel with an even histogram."""
    from torchvision.transforms.v2.functional import equalize_image

    return equalize_image(images)


def _affine(
    xx: Strengths | float = 1.0,
    xy: Strengths | float = 0.0,
    x: Strengths | float = 0.0,
    yx: Strengths | float = 0.0,
    yy: Strengths | float = 1.0,
    y: Strengths | float = 0.0,
) -> NDArray[np.float64]:
    """Where each pixel comes from, in coordinates from the centre: source = matrix (x, y, 1), `[N, 6]`."""
    return np.stack(np.broadcast_arrays(xx, xy, x, yx, yy, y), axis=1)


def _resampled(images: Tensor, matrices_N6: NDArray[np.float64]) -> Tensor:
    """The nearest pixel of where each comes from."""
    n, channels, height, width = images.shape
    sides = np.repeat(np.array([width, height], np.float32), 3) / 2
    matrices = on_device(torch.from_numpy(matrices_N6.astype(np.float32) / sides), images.device)
    xx, xy, x0, yx, yy, y0 = (each.view(-1, 1, 1) for each in matrices.unbind(1))
    x = (torch.arange(width, device=images.device) - (width - 1) / 2).view(1, 1, -1)
    y = (torch.arange(height, device=images.device) - (height - 1) / 2).view(1, -1, 1)
    column = _from_unit(xx * x + xy * y + x0, width)
    row = _from_unit(yx * x + yy * y + y0, height)
    is_inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    place = (row.clamp(0, height - 1) * width + column.clamp(0, width - 1)).view(n, 1, -1).expand(-1, channels, -1)
    found = images.flatten(2).gather(2, place).view(images.shape)
    return torch.where(is_inside[:, None], found, 0)


def _from_unit(places: Tensor, side: int) -> Tensor:
    """Coordinates of -1 to 1 as the number of the nearest pixel, by the arithmetic of grid_sample: what lies half way
    between two goes to the same one, mostly."""
    return (((places + 1) * side - 1) / 2).round().long()


def _blend(images: Tensor, anchor: Tensor, strengths_N: Strengths) -> Tensor:
    factor, rest = _column(1 + strengths_N, images.device), _column(-strengths_N, images.device)
    return _bytes(_sum(images * factor, anchor, rest))


def _sum(values: Tensor, others: Tensor, factor: Tensor) -> Tensor:
    """values + factor x others, rounded once, as torchvision's kernels do it with one factor for all."""
    return (values.double() + others.double() * factor.double()).float()


def _grey(images: Tensor) -> Tensor:
    """Whole numbers, `[N, 1, H, W]`."""
    red, green, blue = images.unbind(1)
    return (red * 0.2989).add_(green, alpha=0.587).add_(blue, alpha=0.114).floor_()[:, None]


def _bytes(values: Tensor) -> Tensor:
    return values.clamp_(0, 255).to(torch.uint8)


def _column(values_N: NDArray[np.generic], device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    return on_device(torch.from_numpy(values_N).to(dtype), device).view(-1, 1, 1, 1)
