"""Where each crop lies, against coordinates worked out by hand from the paper's words, not by the code.

An image whose shorter side is a scale's already is not resized at that scale: its pixels, which say where they are,
come through as they are.
"""

import io

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from platform.data import decode, resize
from platform.data.decode import EncodedImage
from platform.evaluation import views as module
from platform.evaluation.views import render, with_mirrors

# Shorter side -> (longer side of a photograph of 500x375, where its centre and its last square begin,
# where in a square the centre crop of 224 pixels begins, and the last).
PHOTOGRAPH = {
    256: (341, 42, 85, 16, 32),
    288: (384, 48, 96, 32, 64),
    320: (427, 53, 107, 48, 96),
    352: (469, 58, 117, 64, 128),
}
# The same of an image of one to thirty-four or more, which is enlarged in strips.
EXTREME = {256: (9000, 4372, 8744, 16, 32), 352: (12001, 5824, 11649, 64, 128)}
SQUARE = {256: (256, 0, 0, 16, 32), 320: (320, 0, 0, 48, 96)}
SHAPES = [
    *((f"landscape {short}", False, short, *numbers) for short, numbers in PHOTOGRAPH.items()),
    *((f"portrait {short}", True, short, *numbers) for short, numbers in PHOTOGRAPH.items()),
    *((f"square {short}", False, short, *numbers) for short, numbers in SQUARE.items()),
    ("extreme landscape", False, 256, *EXTREME[256]),
    ("extreme portrait", True, 352, *EXTREME[352]),
]


def encoded(pixels: NDArray[np.uint8]) -> EncodedImage:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=0)
    return EncodedImage(buffer.getvalue())


def numbered(height: int, width: int) -> NDArray[np.uint8]:
    """An image whose pixels are numbered from the top left, in three bytes each."""
    numbers = np.arange(height * width, dtype=np.uint32).reshape(height, width)
    return np.stack([numbers >> 16, numbers >> 8 & 255, numbers & 255], axis=-1).astype(np.uint8)


def corners(crop: torch.Tensor, width: int) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """(x, y) of the first pixel, of the last of the first row, and of the last of all."""

    def place(row: int, column: int) -> tuple[int, int]:
        high, middle, low = crop[row, column].tolist()
        y, x = divmod(high << 16 | middle << 8 | low, width)
        return x, y

    return place(0, 0), place(0, -1), place(-1, -1)


@pytest.mark.parametrize(
    ("portrait", "short", "long", "centre", "last", "middle", "end"),
    [each[1:] for each in SHAPES],
    ids=[each[0] for each in SHAPES],
)
def test_the_five_crops_of_each_square_begin_and_end_where_the_paper_says(
    portrait: bool, short: int, long: int, centre: int, last: int, middle: int, end: int
):
    height, width = (long, short) if portrait else (short, long)
    crops = render(encoded(numbered(height, width)), 224, 144).unflatten(0, (4, 3, 6))
    scale = [256, 288, 320, 352].index(short)
    for square, begins in enumerate((centre, 0, last)):
        x0, y0 = (0, begins) if portrait else (begins, 0)
        places = [(middle, middle), (0, 0), (end, 0), (0, end), (end, end)]
        for number, (x, y) in enumerate(places):
            left, top = x0 + x, y0 + y
            expected = ((left, top), (left + 223, top), (left + 223, top + 223))
            assert corners(crops[scale, square, number], width) == expected, (square, number)


def test_the_sixth_is_the_whole_square():
    """At 256 pixels, of stripes as wide as the square's sixteenth: resized, there are 16 of 14 pixels."""
    stripes = np.repeat(np.arange(32) * 8, 16).astype(np.uint8)[None, :, None]
    pixels = np.broadcast_to(stripes, (256, 512, 3)).copy()
    crops = render(encoded(pixels), 224, 144).unflatten(0, (4, 3, 6))
    for square, first in enumerate((8, 0, 16)):
        seen = crops[0, square, 5, 100, 7::14, 0]
        assert seen.tolist() == [8 * stripe for stripe in range(first, first + 16)]


def enlarged(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.float64]:
    """Bilinear, centres of pixels at halves, nothing beyond the edges."""

    def weights(old: int, new: int) -> NDArray[np.float64]:
        at = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(old)))

    return np.einsum("yh,xw,hwc->yxc", weights(len(pixels), height), weights(pixels.shape[1], width), pixels)


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (2, 2), (1, 1), (1, 7)])
def test_tiny_images_are_enlarged_and_cropped_like_any(shape: tuple[int, int]):
    pixels = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    crops = render(encoded(pixels), 32, 144).unflatten(0, (4, 3, 6)).numpy().astype(float)
    for scale, (short, free) in enumerate([(37, 5), (41, 9), (46, 14), (50, 18)]):  # 256, 288, 320, 352 to 224
        size = [round(side * short / min(shape)) for side in shape]
        image, slack = enlarged(pixels, *size), max(size) - short
        for square, begins in enumerate((slack // 2, 0, slack)):
            part = image[:, begins : begins + short] if shape[1] >= shape[0] else image[begins : begins + short]
            half = free // 2
            for number, (y, x) in enumerate([(half, half), (0, 0), (0, free), (free, 0), (free, free)]):
                expected = part[y : y + 32, x : x + 32]
                assert np.abs(crops[scale, square, number] - expected).max() <= 1.5, (scale, square, number)


def test_12_views_are_the_ten_then_the_whole_square_and_its_mirror_image():
    image = encoded(numbered(300, 400))
    every = with_mirrors(render(image, 64, 144).permute(0, 3, 1, 2)[None], 144)[0]
    twelve = with_mirrors(render(image, 64, 12).permute(0, 3, 1, 2)[None], 12)[0]
    assert torch.equal(twelve, every[:12])
    assert torch.equal(twelve[10].permute(1, 2, 0), render(image, 64, 144)[5])
    assert torch.equal(twelve[11], twelve[10].flip(-1))


def test_144_views_decode_once_and_resize_each_scale_once(monkeypatch: pytest.MonkeyPatch):
    sizes, decoded = [], []

    def counted(pixels: NDArray[np.uint8], size: tuple[int, int], interpolation: str = "bilinear") -> torch.Tensor:
        sizes.append(size)
        return resize.resize(pixels, size, interpolation)

    whole = EncodedImage.decode
    monkeypatch.setattr(module, "resize", counted)
    monkeypatch.setattr(decode.EncodedImage, "decode", lambda image, box=None: decoded.append(box) or whole(image, box))
    render(encoded(numbered(375, 500)), 224, 144)
    assert decoded == [None]
    scales = [size for size in sizes if size != (224, 224)]
    assert scales == [(short, long) for short, (long, *_) in PHOTOGRAPH.items()]
    assert len(sizes) == 4 + 12
