"""Mixup (Zhang et al., ICLR 2018) and CutMix (Yun et al., ICCV 2019): which images of a batch mix, in what shares.

In: a worker's share of a global batch with its draws. Out: for each image its partner, the share of its own label, and
the part of it that shows the partner. An image's partner is among those that its stream gives to the same global batch:
a worker reads whole streams, so that the pairs are the same at any number of workers.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from platform.config.transforms import TransformsConfig
from platform.data.batch import Batch
from platform.data.boxes import inside
from platform.data.pixels import on_device
from platform.data.sampling import MIXING_DRAWS

MIXED, WHICH, SHARE, TOP, LEFT = range(5)  # places among the draws of a mix


@dataclass(frozen=True)
class Mixes:
    """How each image of a worker's share is mixed. On the host."""

    partners_N: NDArray[np.int64]  # places in the share; an image that is not mixed has a partner as well
    shares_N: NDArray[np.float32]  # of the image's own label; 1: not mixed
    boxes_N4: NDArray[np.int64]  # top, left, bottom, right of what shows the partner alone; 0: mixup, or not mixed
    is_cutmix_N: NDArray[np.bool_]

    def weights(self, places: slice, device: torch.device, size: tuple[int, int]) -> Tensor:
        """The share of its own image in each pixel: float32 `[n, 1, H, W]`, of the images at `places`."""
        is_outside = ~inside(self.boxes_N4[places], size, device)
        is_cutmix_N, shares_N = (
            on_device(torch.from_numpy(each[places]), device) for each in (self.is_cutmix_N, self.shares_N)
        )
        return torch.where(is_cutmix_N.view(-1, 1, 1, 1), is_outside.float(), shares_N.view(-1, 1, 1, 1))


def mixes(batch: Batch, transforms: TransformsConfig) -> Mixes | None:
    """How the images of a worker's share of a global batch are mixed; None: none is."""
    if not transforms.mixes:
        return None
    n, (height, width) = len(batch.ids_N), batch.images.shape[1:3]
    rows_N5 = batch.draws_ND[:, MIXING_DRAWS]
    if transforms.mixing_per == "batch":
        rows_N5 = np.repeat(batch.step_draws[None, MIXING_DRAWS], n, axis=0)
    is_mixed = rows_N5[:, MIXED] < transforms.mixing_probability
    is_cutmix = is_mixed & (rows_N5[:, WHICH] < _share_of_cutmix(transforms))
    alphas = np.where(is_cutmix, transforms.cutmix_alpha, transforms.mixup_alpha)
    shares = np.where(is_mixed, _beta(alphas, rows_N5[:, SHARE]), 1.0)
    boxes = np.where(is_cutmix[:, None], _boxes(shares, rows_N5[:, TOP], rows_N5[:, LEFT], height, width), 0)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    shares = np.where(is_cutmix, 1 - areas / (height * width), shares)
    return Mixes(partners(n, batch.per_stream, batch.repeats), shares.astype(np.float32), boxes, is_cutmix)


def partners(images: int, per_stream: int, repeats: int = 1) -> NDArray[np.int64]:
    """The place of each image's partner: the next sample's of its stream in this batch, the last's is the first."""
    places = np.arange(images)
    first = places - places % per_stream
    return first + (places - first + repeats) % per_stream


def _share_of_cutmix(transforms: TransformsConfig) -> float:
    if transforms.mixup_alpha > 0 and transforms.cutmix_alpha > 0:
        return transforms.cutmix_share
    return float(transforms.cutmix_alpha > 0)


def _beta(alphas: NDArray[np.float64], draws: NDArray[np.float64]) -> NDArray[np.float64]:
    """Uniform draws as draws from Beta(alpha, alpha), by its inverse distribution function."""
    from scipy.special import betaincinv  # a second that runs without mixing need not

    return betaincinv(alphas, alphas, draws)


def _boxes(
    shares: NDArray[np.float64], top: NDArray[np.float64], left: NDArray[np.float64], height: int, width: int
) -> NDArray[np.int64]:
    """Boxes of the aspect of the image, of an area of 1 - share, around a drawn centre, and cut off at the edges."""
    side = np.sqrt(1 - shares)
    half_h, half_w = (side * height).astype(np.int64) // 2, (side * width).astype(np.int64) // 2
    y, x = (top * height).astype(np.int64), (left * width).astype(np.int64)
    corners = [np.maximum(y - half_h, 0), np.maximum(x - half_w, 0)]
    return np.stack([*corners, np.minimum(y + half_h, height), np.minimum(x + half_w, width)], axis=1)
