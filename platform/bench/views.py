"""144 crops of an image from one decode and one resize a scale, against making each by itself.

In: photographs. Out: images a CPU-second, in turns; mirror images are the device's work, in neither.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from platform.bench.figures import Figures
from platform.bench.photographs import photographs
from platform.config.sections import Config
from platform.data.decode import EncodedImage
from platform.data.resize import resize
from platform.evaluation.views import SCALES, render

IMAGES = 24  # in each turn
SIX = ((0.5, 0.5), (0, 0), (0, 1), (1, 0), (1, 1), None)  # shares of the room that lie above and left; None: the square


def measure(config: Config, folder: Path, figures: Figures) -> None:
    """Measure both, and decoding once without sharing the resizes; `views.*` into `figures`."""
    torch.set_num_threads(1)
    size = config.bench.image_size
    images = [EncodedImage(content) for content in photographs(config.bench.photos)[:IMAGES]]

    def together(image: EncodedImage) -> None:
        render(image, size, 144)

    def view_by_view(image: EncodedImage) -> None:
        list(views(image.decode, size))

    def decoded_once(image: EncodedImage) -> None:
        pixels = image.decode()
        list(views(lambda: pixels, size))

    for way in (together, view_by_view, decoded_once):
        way(images[0])
    for _ in range(config.bench.repeats):
        speed = _images_per_cpu_s(images, together)
        figures.add("views.images_per_cpu_s", speed, "images a CPU-second in 144 crops: decoding and resizing")
        each = _images_per_cpu_s(images, view_by_view)
        figures.add("views.ratio", speed / each, "over decoding and resizing for each crop")
        once = _images_per_cpu_s(images, decoded_once)
        figures.add("views.ratio_decoded_once", speed / once, "over decoding once and resizing for each crop")


def views(decode: Callable[[], NDArray[np.uint8]], size: int) -> Iterator[Tensor]:
    """The crops that `render` makes of an image in 144 views, in its order, each from the beginning.

    Args:
        decode: the image's pixels.
        size: height and width of each crop.
    """
    for scale in SCALES:
        short = round(size * scale)
        for begins in (0.5, 0, 1):
            for place in SIX:
                yield _view(decode(), short, begins, place, size)


def _view(pixels: NDArray[np.uint8], short: int, begins: float, place: tuple[float, float] | None, size: int) -> Tensor:
    height, width = pixels.shape[:2]
    shorter = min(height, width)
    image = resize(pixels, (round(height * short / shorter), round(width * short / shorter)))
    top, left = (int((side - short) * begins) for side in image.shape[:2])
    square = image[top : top + short, left : left + short]
    if place is None:
        return resize(square.numpy(), (size, size))
    top, left = (int((short - size) * share) for share in place)
    return square[top : top + size, left : left + size].clone()


def _images_per_cpu_s(images: list[EncodedImage], work: Callable[[EncodedImage], None]) -> float:
    started = time.process_time()
    for image in images:
        work(image)
    return len(images) / (time.process_time() - started)
