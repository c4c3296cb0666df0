"""A network's input for a part of a batch: the images as it gets them, and the labels they count for.

In: a worker's share of a global batch, and the part of it that goes through the network at once. Out: float32 images
on the device, mixed where drawn. Pairs are made before the share is cut: the parts' sizes do not matter.
"""

import functools
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from platform.config.sampling import SamplingConfig
from platform.config.transforms import TransformsConfig
from platform.data.batch import Batch
from platform.data.mixing import Mixes, mixes
from platform.data.pixels import Pixels, on_device
from platform.data.policies import applied, erased


@dataclass(frozen=True)
class Inputs:
    """On the device."""

    images: Tensor  # float32 [N, 3, H, W]
    labels_N: Tensor  # int64; of a mixed image its own, whose share may be the smaller one
    partner_labels_N: Tensor | None = None  # int64; None: nothing is mixed
    shares_N: Tensor | None = None  # float32, of the own label
    teacher_logs_NK: Tensor | None = None  # float16, of a teacher's probabilities; None: there is no teacher
    partner_teacher_logs_NK: Tensor | None = None  # None: nothing is mixed, or there is no teacher

    def targets(self, classes: int) -> Tensor:
        """Labels `[N]`; where images are mixed, the share of each class: float32 `[N, classes]`."""
        if self.partner_labels_N is None or self.shares_N is None:
            return self.labels_N
        own, other = (F.one_hot(labels, classes) for labels in (self.labels_N, self.partner_labels_N))
        return own * self.shares_N[:, None] + other * (1 - self.shares_N[:, None])

    def taught(self, temperature: float) -> Tensor | None:
        """The teacher's probabilities at a temperature, mixed in the shares of the images: float32 `[N, K]`; None:
        there is no teacher.

        Args:
            temperature: that divides their logarithms.
        """
        if self.teacher_logs_NK is None:
            return None
        own = (self.teacher_logs_NK.float() / temperature).softmax(1)
        if self.partner_teacher_logs_NK is None or self.shares_N is None:
            return own
        return torch.lerp((self.partner_teacher_logs_NK.float() / temperature).softmax(1), own, self.shares_N[:, None])

    @property
    def main_labels_N(self) -> Tensor:
        """The label of the larger share, by which the accuracy in training is counted."""
        if self.partner_labels_N is None or self.shares_N is None:
            return self.labels_N
        return torch.where(self.shares_N >= 0.5, self.labels_N, self.partner_labels_N)


class BatchInputs:
    """The network's inputs for a worker's share of a global batch, made part by part.

    Args:
        batch: the whole share, images uint8 `[N, H, W, 3]`.
        pixels: mirrors, distorts and normalises the images on its device.
        sampling: how their colours are changed.
        transforms: what else is done to them, and how they are mixed.
    """

    def __init__(self, batch: Batch, pixels: Pixels, sampling: SamplingConfig, transforms: TransformsConfig) -> None:
        self._batch, self._pixels, self._sampling, self._transforms = batch, pixels, sampling, transforms
        self._mixes = mixes(batch, transforms)
        self._colour_draws_N8 = batch.colour_draws_N8

    def part(self, part: slice) -> Inputs:
        """The input for the samples at `part`, whose start and stop are given."""
        device, mixed, own = self._pixels.device, self._mixes, self._prepared(part)
        labels_N = self._batch.labels_N[part].to(device, non_blocking=True)
        if mixed is None or (mixed.shares_N[part] == 1).all():
            return Inputs(own, labels_N, teacher_logs_NK=self._teacher(part))
        weights = mixed.weights(part, device, (own.shape[2], own.shape[3]))
        images = torch.lerp(self._partners(part, own, mixed), own, weights)
        partners_N = torch.from_numpy(mixed.partners_N[part])
        return Inputs(
            images,
            labels_N,
            partner_labels_N=_picked(self._batch.labels_N, partners_N).to(device, non_blocking=True),
            shares_N=on_device(torch.from_numpy(mixed.shares_N[part]), device),
            teacher_logs_NK=self._teacher(part),
            partner_teacher_logs_NK=self._teacher(partners_N),
        )

    def _teacher(self, places: slice | Tensor) -> Tensor | None:
        """What the teacher says of the images at these places of the share, on the device."""
        logs_NK = self._batch.teacher_logs_NK
        return None if logs_NK is None else _picked(logs_NK, places).to(self._pixels.device, non_blocking=True)

    def _partners(self, part: slice, own: Tensor, mixed: Mixes) -> Tensor:
        """The partners' images. Few are not in the part themselves: of each stream that it cuts."""
        wanted = mixed.partners_N[part]
        outside = np.unique(wanted[(wanted < part.start) | (wanted >= part.stop)])
        known = torch.cat([own, self._prepared(torch.from_numpy(outside))]) if len(outside) else own
        places = np.where(
            (wanted >= part.start) & (wanted < part.stop),
            wanted - part.start,
            len(own) + np.searchsorted(outside, wanted),
        )
        return known[on_device(torch.from_numpy(places), self._pixels.device)]

    def _prepared(self, places: slice | Tensor) -> Tensor:
        """The images at these places on the device, each changed by its own draws: float32 `[N, 3, H, W]`."""
        batch, transforms = self._batch, self._transforms
        draws_ND = batch.draws_ND[places if isinstance(places, slice) else places.numpy()]
        change = functools.partial(applied, transforms=transforms, draws_ND=draws_ND)
        images = self._pixels.training(
            _picked(batch.images, places),
            _picked(batch.mirrored_N, places),
            _picked(self._colour_draws_N8, places),
            self._sampling,
            change=None if transforms.name == "none" else change,
        )
        return erased(images, transforms, draws_ND) if transforms.erase_probability > 0 else images


def _picked(values: Tensor, places: slice | Tensor) -> Tensor:
    """Some of a batch's values, in page-locked memory if all are: for any other the host waits until it is copied."""
    if isinstance(places, slice):
        return values[places]
    if values.is_cuda:
        return values[on_device(places, values.device)]
    return values[places].pin_memory() if values.is_pinned() else values[places]
