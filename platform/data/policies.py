"""TrivialAugment Wide (Müller and Hutter, ICCV 2021) and RandAugment (Cubuk et al., NeurIPS 2020): which operations of
what strength each image gets; and random erasing (Zhong et al., AAAI 2020). As in torchvision, where both are.

In: each sample's own draws. Out: images with them applied. Operations are on the device, those of a kind together.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from platform.config.transforms import MOST_OPS, TransformsConfig
from platform.data import operations
from platform.data.boxes import inside
from platform.data.operations import Operation
from platform.data.pixels import on_device
from platform.data.sampling import ATTEMPTS, ERASING_DRAWS, OPERATION_DRAWS

WHICH, STRENGTH, STRENGTH_TOO, SIGN, WHETHER = range(5)  # places among the draws of an operation
BINS = 31  # of the strengths of TrivialAugment
STRONGEST = 10  # of RandAugment's magnitudes


@dataclass(frozen=True)
class Kind:
    """An operation and its strengths: from weakest to strongest, in the units of `operations`."""

    apply: Operation
    weakest: float
    wide: float  # TrivialAugment's strongest
    rand: float  # RandAugment's strongest
    signed: bool = False  # half of them are the other way
    per_side: bool = False  # RandAugment's is a share of the image's side
    whole: bool = False  # strengths are whole numbers


KINDS = (
    Kind(operations.identity, 0, 0, 0),
    Kind(operations.shear_x, 0, 0.99, 0.3, signed=True),
    Kind(operations.shear_y, 0, 0.99, 0.3, signed=True),
    Kind(operations.translate_x, 0, 32, 150 / 331, signed=True, per_side=True),
    Kind(operations.translate_y, 0, 32, 150 / 331, signed=True, per_side=True),
    Kind(operations.rotate, 0, 135, 30, signed=True),
    Kind(operations.brightness, 0, 0.99, 0.9, signed=True),
    Kind(operations.colour, 0, 0.99, 0.9, signed=True),
    Kind(operations.contrast, 0, 0.99, 0.9, signed=True),
    Kind(operations.sharpness, 0, 0.99, 0.9, signed=True),
    Kind(operations.posterise, 8, 2, 4, whole=True),
    Kind(operations.solarise, 1, 0, 0),
    Kind(operations.autocontrast, 0, 0, 0),
    Kind(operations.equalise, 0, 0, 0),
)


def applied(images: Tensor, transforms: TransformsConfig, draws_ND: NDArray[np.float64]) -> Tensor:
    """Each image with its operations.

    Args:
        images: uint8 `[N, 3, H, W]`, on the device; changed in place.
        transforms: the policy.
        draws_ND: rows of `sampling.DRAWS` uniform draws.
    """
    draws_NO5 = draws_ND[:, OPERATION_DRAWS].reshape(len(draws_ND), MOST_OPS, 5)
    rounds = {"none": 0, "trivial": 1, "rand": transforms.rand_ops}[transforms.name]
    for turn in range(rounds):
        draws_N5 = draws_NO5[:, turn]
        which_N = (draws_N5[:, WHICH] * len(KINDS)).astype(np.int64)
        if transforms.name == "rand":
            which_N = np.where(draws_N5[:, WHETHER] < transforms.rand_probability, which_N, 0)
        for number, kind in enumerate(KINDS):
            places = np.flatnonzero(which_N == number)
            if number and len(places):  # 0 is the identity
                strengths = _strengths(kind, transforms, draws_N5[places], images.shape[2:])
                on = on_device(torch.from_numpy(places), images.device)
                images[on] = kind.apply(images[on], strengths)
    return images


def _strengths(
    kind: Kind, transforms: TransformsConfig, draws_N5: NDArray[np.float64], size: torch.Size
) -> NDArray[np.float64]:
    if transforms.name == "trivial":
        share = np.floor(draws_N5[:, STRENGTH] * BINS) / (BINS - 1)
        strongest = kind.wide
    else:
        share = _magnitudes(transforms, draws_N5) / STRONGEST
        side = size[1] if kind.apply is operations.translate_x else size[0]
        strongest = kind.rand * (side if kind.per_side else 1)
    strengths = kind.weakest + (strongest - kind.weakest) * share
    if kind.whole:
        strengths = np.round(strengths)
    return np.where(draws_N5[:, SIGN] < 0.5, -strengths, strengths) if kind.signed else strengths


def _magnitudes(transforms: TransformsConfig, draws_N5: NDArray[np.float64]) -> NDArray[np.float64]:
    """RandAugment's, normal around the one that is set, within 0 to 10."""
    radius = np.sqrt(-2 * np.log1p(-draws_N5[:, STRENGTH]))  # Box-Muller
    normal = radius * np.cos(2 * math.pi * draws_N5[:, STRENGTH_TOO])
    return np.clip(transforms.rand_magnitude + transforms.rand_std * normal, 0, STRONGEST)


def erased(images: Tensor, transforms: TransformsConfig, draws_ND: NDArray[np.float64]) -> Tensor:
    """Each image with a box of one value, where drawn.

    Args:
        images: normalised `[N, 3, H, W]`, on the device.
        transforms: how often, and how large the boxes are.
        draws_ND: rows of `sampling.DRAWS` uniform draws.
    """
    height, width = images.shape[2:]
    boxes_N4 = erased_boxes(transforms, draws_ND, height, width)
    return images.masked_fill(inside(boxes_N4, (height, width), images.device), transforms.erase_value)


def erased_boxes(
    transforms: TransformsConfig, draws_ND: NDArray[np.float64], height: int, width: int
) -> NDArray[np.int64]:
    """Top, left, bottom, right of each image's box; 0 where there is none, or ten tries do not fit: `[N, 4]`."""
    rows = draws_ND[:, ERASING_DRAWS]
    whether, top, left, tries = rows[:, 0], rows[:, 1], rows[:, 2], rows[:, 3:].reshape(len(rows), ATTEMPTS, 2)
    (least, most), (low, high) = transforms.erase_area, map(math.log, transforms.erase_aspect)
    areas = height * width * (least + (most - least) * tries[:, :, 0])
    aspects = np.exp(low + (high - low) * tries[:, :, 1])
    h, w = np.round(np.sqrt(areas * aspects)).astype(np.int64), np.round(np.sqrt(areas / aspects)).astype(np.int64)
    fits = (h < height) & (w < width)
    first = fits.argmax(1), np.arange(len(rows))
    h, w = h[first[::-1]], w[first[::-1]]
    y, x = (top * (height - h + 1)).astype(np.int64), (left * (width - w + 1)).astype(np.int64)
    is_erased = fits.any(1) & (whether < transforms.erase_probability)
    return np.where(is_erased[:, None], np.stack([y, x, y + h, x + w], axis=1), 0)
