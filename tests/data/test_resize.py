"""Resizing is antialiased as Pillow's is, and keeps the picture in its place."""

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from platform.data.resize import resize

Pixels = NDArray[np.uint8]
SIZES = [(224, 224), (32, 32), (100, 37), (1, 1), (97, 60)]


def pillow(data: bytes) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.fixture(scope="module")
def photo(photos: list[bytes]) -> Pixels:
    """A real photograph's pixels, of odd size: 131x97."""
    return pillow(photos[0])[100:197, 200:331]


@pytest.mark.parametrize(("name", "method"), [("bilinear", "BILINEAR"), ("bicubic", "BICUBIC")])
@pytest.mark.parametrize("size", [*SIZES, (300, 400)])
def test_antialiased_resizing_agrees_with_pillow(photo: Pixels, name: str, method: str, size: tuple[int, int]) -> None:
    ours = resize(photo, size, name).numpy().astype(int)
    assert ours.shape == (*size, 3)
    theirs = np.asarray(Image.fromarray(photo).resize((size[1], size[0]), Image.Resampling[method])).astype(int)
    assert np.abs(ours - theirs).max() <= 2
    assert np.abs(ours - theirs).mean() <= 0.5


def test_resizing_a_whole_photograph_agrees_with_pillow(photos: list[bytes]) -> None:
    pixels = pillow(photos[1])
    ours = resize(pixels, (224, 224)).numpy().astype(int)
    theirs = np.asarray(Image.fromarray(pixels).resize((224, 224), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(ours - theirs).max() <= 1
    assert np.abs(ours - theirs).mean() < 0.1


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "area", "nearest"])
@pytest.mark.parametrize("size", SIZES)
def test_every_interpolation_keeps_the_picture(photo: Pixels, interpolation: str, size: tuple[int, int]) -> None:
    resized = resize(photo, size, interpolation)
    assert tuple(resized.shape) == (*size, 3)
    assert resized.numpy().dtype == np.uint8
    if min(size) >= 32:  # channels and sides in their places: each quarter's mean colour stays what it was
        for rows in (slice(0, 0.5), slice(0.5, 1)):
            for columns in (slice(0, 0.5), slice(0.5, 1)):
                before, after = part(photo, rows, columns), part(resized.numpy(), rows, columns)
                np.testing.assert_allclose(after.mean((0, 1)), before.mean((0, 1)), atol=9)


def part(pixels: Pixels, rows: slice, columns: slice) -> Pixels:
    height, width = pixels.shape[:2]
    return pixels[
        int(rows.start * height) : int(rows.stop * height), int(columns.start * width) : int(columns.stop * width)
    ]


def test_area_is_the_mean_and_nearest_the_pixel_at_the_centre() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 9, 3), dtype=np.uint8)
    means = pixels.reshape(4, 3, 3, 3, 3).mean((1, 3))
    assert np.abs(resize(pixels, (4, 3), "area").numpy() - means).max() <= 0.5
    np.testing.assert_array_equal(resize(pixels, (4, 3), "nearest").numpy(), pixels[1::3, 1::3])


def test_the_size_asked_for_already_is_unchanged(photo: Pixels) -> None:
    for interpolation in ("bilinear", "bicubic", "area", "nearest"):
        np.testing.assert_array_equal(resize(photo, (97, 131), interpolation).numpy(), photo)
