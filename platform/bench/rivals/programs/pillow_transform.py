"""What users of a loader that leaves decoding to them write: Pillow, RandomResizedCrop, ToTensor, Normalize."""

import io
from typing import Any

from participant import Job
from PIL import Image
from torchvision import transforms


class Transform:
    """JPEG bytes or a Pillow image -> float32 `[3, H, W]`, normalised."""

    def __init__(self, job: Job) -> None:
        self._transform = transforms.Compose(
            [
                transforms.RandomResizedCrop(job.image_size),
                transforms.ToTensor(),
                transforms.Normalize(job.mean, job.std),
            ]
        )

    def __call__(self, image: Any) -> Any:
        if isinstance(image, bytes | bytearray | memoryview):
            image = Image.open(io.BytesIO(image))
        return self._transform(image.convert("RGB"))
