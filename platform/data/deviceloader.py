"""Training batches whose crops a GPU decodes: nvImageCodec again, with nvJPEG behind it, a batch in one call.

The samples, boxes and draws are those of decoding on CPU, behind the same interface. The pixels differ by rounding:
another inverse DCT, and resizing in float.
"""

import threading
from concurrent.futures import Future
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from platform.data.batch import Batch
from platform.data.decode import Box, CorruptImage, EncodedImage, new_decoder
from platform.data.loader import Part
from platform.data.reader import Sample
from platform.data.sampling import Crop
from platform.data.train_loader import TrainLoader

BATCHES_AT_ONCE = 2  # one is prepared by Python while the GPU decodes the other


class DeviceTrainLoader(TrainLoader):
    """`TrainLoader` whose images are decoded and resized on `device`; only encoded bytes are copied there."""

    def __init__(self, *args: Any, device: torch.device, **options: Any) -> None:
        super().__init__(*args, **(options | {"threads": BATCHES_AT_ONCE, "pin": device.type == "cuda"}), device=device)
        self._thread = threading.local()

    def _submit(self, batch: Batch) -> list[Future[Part]]:
        return [self._pool.submit(self._timed_fill, batch, list(range(len(batch.ids_N))))]

    def _fill(self, batch: Batch, places: list[int]) -> list[str]:
        errors: list[str] = []
        images: list[tuple[int, Sample, EncodedImage, Crop]] = []
        for place, sample in self._samples(batch, places):
            try:
                image = EncodedImage(sample.image)
                images.append((place, sample, image, self._crop(batch, place, image)))
            except CorruptImage as error:
                errors.append(self._left_out(batch, place, sample, error))
        pixels = self._decoder().decode([(image, view.box) for _, _, image, view in images])
        for (place, sample, _, view), decoded in zip(images, pixels, strict=True):
            if isinstance(decoded, CorruptImage):
                errors.append(self._left_out(batch, place, sample, decoded))
                continue
            self._show(batch, place, decoded, view)
            batch.valid_N[place] = True
        return errors

    def _put(self, batch: Batch, place: int, sample: Sample) -> None:
        image = EncodedImage(sample.image)
        view = self._crop(batch, place, image)
        (decoded,) = self._decoder().decode([(image, view.box)])
        if isinstance(decoded, CorruptImage):
            raise decoded
        self._show(batch, place, decoded, view)

    def _show(self, batch: Batch, place: int, decoded: Tensor, view: Crop) -> None:
        batch.images[place] = resize_on_device(decoded, batch.images.shape[1:3], view.interpolation)
        batch.mirrored_N[place] = view.mirrored

    def _decoder(self) -> "DeviceDecoder":
        if not hasattr(self._thread, "decoder"):
            self._thread.decoder = DeviceDecoder(self._device)
        return self._thread.decoder


class DeviceDecoder:
    """Decodes regions of many images in one call, on a device. For one thread."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._decoder, self._parameters = new_decoder(None if device.type == "cpu" else device.index or 0)

    def decode(self, regions: list[tuple[EncodedImage, Box]]) -> list[Tensor | CorruptImage]:
        """Decode each image's box: `[H, W, 3]` uint8 on the device, or the error of an image that cannot be."""
        streams = [image.region(box) for image, box in regions]
        readable = [stream for stream in streams if stream is not None]
        decoded = iter(self._decoder.decode(readable, params=self._parameters) if readable else [])
        return [
            self._pixels(image, box, None if stream is None else next(decoded))
            for (image, box), stream in zip(regions, streams, strict=True)
        ]

    def _pixels(self, image: EncodedImage, box: Box, decoded: Any) -> Tensor | CorruptImage:
        """The codec's pixels on the device; what it declined is decoded on CPU."""
        on_device = self._device.type != "cpu"
        if decoded is not None and tuple(decoded.shape) == (*box.size, 3):
            return torch.as_tensor(decoded, device=self._device) if on_device else torch.from_numpy(np.asarray(decoded))
        try:
            pixels = torch.from_numpy(image.decode(box).copy())
            return pixels.pin_memory().to(self._device, non_blocking=True) if on_device else pixels
        except CorruptImage as error:
            return error


def resize_on_device(pixels_HWC: Tensor, size: tuple[int, ...], interpolation: str) -> Tensor:
    """Resize like `resize.resize`, in float: torch antialiases uint8 on CPU only.

    Args:
        pixels_HWC: uint8 `[H, W, 3]`.
        size: height and width.
        interpolation: bilinear, bicubic, area or nearest.

    Returns:
        uint8 `[height, width, 3]` on the same device.
    """
    image_1CHW = pixels_HWC.permute(2, 0, 1)[None].float()
    mode = "nearest-exact" if interpolation == "nearest" else interpolation
    resized = F.interpolate(image_1CHW, tuple(size), mode=mode, antialias=interpolation in ("bilinear", "bicubic"))
    return resized.round_().clamp_(0, 255).to(torch.uint8)[0].permute(1, 2, 0)
