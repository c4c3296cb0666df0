"""Batches become the network's input, on the device: uint8 `[N, H, W, 3]` -> normalised float `[N, 3, H, W]`.

Mirroring and Howard's photometric distortions (arXiv 1312.5402) are batched arithmetic here, not per-image work there.
Nothing here waits for the device: constants are copied there once, a batch (from page-locked memory) asynchronously.
"""

import functools
import itertools
from collections.abc import Callable

import torch
from torch import Tensor

from platform.config.data import DataConfig
from platform.config.sampling import SamplingConfig
from platform.data.normalise import Normaliser, channels_first

# Principal components of ImageNet's RGB covariance, values in 0..1 (AlexNet; Howard keeps them).
LIGHTING_EIGENVALUES = (0.2175, 0.0188, 0.0045)
LIGHTING_EIGENVECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))
LUMA = (0.299, 0.587, 0.114)
_ORDERS = tuple(itertools.permutations(range(3)))  # of brightness, contrast, colour


class Pixels:
    """Prepares the batches of one data set on one device."""

    def __init__(self, data: DataConfig, device: torch.device, *, channels_last: bool = True) -> None:
        self.device = device
        memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self._normaliser = Normaliser(data.mean, data.std, device, memory_format)

    def evaluation(self, images_NHWC: Tensor) -> Tensor:
        """Normalise: uint8 `[N, H, W, 3]` -> float32 `[N, 3, H, W]`; nothing is drawn."""
        return self._normaliser(images_NHWC)

    def training(
        self,
        images_NHWC: Tensor,
        mirrored_N: Tensor,
        colour_draws_N8: Tensor,
        sampling: SamplingConfig,
        change: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Mirror where drawn, change, distort colours if `sampling.photometric`, and normalise.

        Args:
            images_NHWC: uint8.
            mirrored_N: bool.
            colour_draws_N8: float32, see `distort`.
            sampling: the method.
            change: what else is done to the mirrored images, uint8 `[N, 3, H, W]` in and out; may do it in place.

        Returns:
            float32 `[N, 3, H, W]` on the device.
        """
        images_NHWC = images_NHWC.to(self.device, non_blocking=True)
        mirrored = mirrored_N.to(self.device, non_blocking=True).view(-1, 1, 1, 1)
        images_NHWC = torch.where(mirrored, images_NHWC.flip(2), images_NHWC)
        if change:
            images_NHWC = change(images_NHWC.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        images = channels_first(images_NHWC)
        if not sampling.photometric:
            return self._normaliser.normalised(images, scale=255)
        draws_N8 = colour_draws_N8.to(self.device, non_blocking=True)
        return self._normaliser.normalised(distort(images / 255, draws_N8, sampling), scale=1)


def on_device(values: Tensor, device: torch.device) -> Tensor:
    """A copy of a few values that the host made, without waiting."""
    return values if device.type == "cpu" else values.pin_memory().to(device, non_blocking=True)


@functools.cache
def constant(values: tuple[object, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Numbers as a tensor that is copied to the device once: every copy from pageable memory makes the host wait."""
    return torch.tensor(values, device=device, dtype=dtype)


def distort(images: Tensor, draws_N8: Tensor, sampling: SamplingConfig) -> Tensor:
    """Howard's distortions: brightness, contrast and colour in random order, then lighting noise.

    Args:
        images: `[N, 3, H, W]` in 0..1.
        draws_N8: uniform draws: the order, three factors, four for three normal numbers.
        sampling: the range of the factors (1.0 = unchanged) and the lighting's standard deviation.

    Returns:
        images in 0..1.
    """
    orders = constant(_ORDERS, images.device, torch.int64)
    order_N3 = orders[(draws_N8[:, 0] * len(_ORDERS)).long()]
    low, high = sampling.photometric_range
    factors_N3 = low + (high - low) * draws_N8[:, 1:4]
    for turn in range(3):
        operation_N = order_N3[:, turn]
        factor = factors_N3.gather(1, operation_N[:, None]).view(-1, 1, 1, 1).to(images.dtype)
        images = (factor * images + (1 - factor) * _anchor(images, operation_N.view(-1, 1, 1, 1))).clamp(0, 1)
    noise_N3 = _lighting(draws_N8[:, 4:8], sampling.lighting_std)
    return (images + noise_N3.to(images.dtype)[:, :, None, None]).clamp(0, 1)


def _anchor(images: Tensor, operation: Tensor) -> Tensor:
    """What each image is blended with: black (brightness), its mean grey (contrast), its own grey (colour)."""
    luma = constant(LUMA, images.device, images.dtype).view(1, 3, 1, 1)
    grey = (images * luma).sum(1, keepdim=True)
    mean = grey.mean((2, 3), keepdim=True)
    return torch.where(operation == 0, torch.zeros_like(grey), torch.where(operation == 1, mean, grey))


def _lighting(draws_N4: Tensor, std: float) -> Tensor:
    """Normal steps along the principal components of ImageNet's colours: `[N, 3]`."""
    radius = torch.sqrt(-2 * torch.log1p(-draws_N4[:, 0::2]))  # Box-Muller: two uniforms make two normals
    angle = 2 * torch.pi * draws_N4[:, 1::2]
    normals_N3 = torch.cat([radius * torch.cos(angle), radius * torch.sin(angle)], 1)[:, :3] * std
    eigenvalues = constant(LIGHTING_EIGENVALUES, draws_N4.device, draws_N4.dtype)
    eigenvectors = constant(LIGHTING_EIGENVECTORS, draws_N4.device, draws_N4.dtype)
    return (normals_N3 * eigenvalues) @ eigenvectors.T
