"""uint8 `[N, H, W, 3]` -> float32 `[N, 3, H, W]`, normalised: on the device that a network is on.

Nothing here waits for the device: constants are copied there once. Training, evaluation and exported models share it.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


class Normaliser:
    """Mean and standard deviation of a data set, on one device.

    Args:
        mean, std: per channel, of values 0..1.
        device: where images are normalised.
        memory_format: of what is returned.
    """

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        device: torch.device,
        memory_format: torch.memory_format = torch.channels_last,
    ) -> None:
        self.device = device
        self._memory_format = memory_format
        self._mean = torch.tensor(mean, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(std, device=device).view(1, 3, 1, 1)

    def __call__(self, images_NHWC: Tensor) -> Tensor:
        """uint8 `[N, H, W, 3]` -> normalised float32 `[N, 3, H, W]` on the device."""
        return self.normalised(channels_first(images_NHWC.to(self.device, non_blocking=True)), scale=255)

    def normalised(self, images: Tensor, scale: float) -> Tensor:
        """(images / scale - mean) / std, in place: on CPU each pass over the floats of 224 px images costs time."""
        images.sub_(self._mean * scale).div_(self._std * scale)
        return images.contiguous(memory_format=self._memory_format)


class RowNormaliser:
    """What `Normaliser` computes on a CPU, to the same bits, in one thread.

    One image at a time, so that its floats stay in the cache between the passes, and by rows: numbers for three
    channels alone are too few for the CPU's vectors. NumPy, as torch would share each of these small operations
    between threads that wait for each other, beside those that decode.

    Args:
        mean, std: per channel, of values 0..1.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self._mean, self._std = (torch.tensor(mean) * 255).numpy(), (torch.tensor(std) * 255).numpy()

    def __call__(self, images_NHWC: Tensor) -> Tensor:
        """uint8 `[N, H, W, 3]` -> normalised float32 `[N, 3, H, W]`, channels_last."""
        n, height, width, channels = images_NHWC.shape
        mean, std = np.tile(self._mean, width), np.tile(self._std, width)
        rows = np.empty((n, height, width * channels), np.float32)
        for of_image, image in zip(rows, images_NHWC.reshape(rows.shape).numpy(), strict=True):
            np.subtract(image, mean, out=of_image)
            np.divide(of_image, std, out=of_image)
        return torch.from_numpy(rows).view(images_NHWC.shape).permute(0, 3, 1, 2)


def channels_first(images_NHWC: Tensor) -> Tensor:
    """A channels_last view as float `[N, 3, H, W]`; the bytes are moved as they are."""
    return images_NHWC.permute(0, 3, 1, 2).float()
