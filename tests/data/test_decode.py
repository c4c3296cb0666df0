"""Decoding gives Pillow's pixels bit by bit, whole or in part; what is no image is refused."""

import io
import tarfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from platform.data.decode import Box, CorruptImage, EncodedImage

Pixels = NDArray[np.uint8]


def pillow(data: bytes) -> Pixels:
    """The stored pixels, as torchvision's and webdataset's loaders see them."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def encoded(pixels: Pixels, file_format: str, mode: str = "RGB", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, file_format, **options)
    return buffer.getvalue()


def random_box(rng: np.random.Generator, width: int, height: int) -> Box:
    w, h = int(rng.integers(1, width + 1)), int(rng.integers(1, height + 1))
    left, top = int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1))
    return Box(left, top, left + w, top + h)


def assert_decodes_as_pillow(data: bytes, seed: int = 0, regions: int = 4) -> None:
    image, expected = EncodedImage(data), pillow(data)
    assert (image.height, image.width) == expected.shape[:2]
    whole = image.decode()
    assert whole.dtype == np.uint8
    np.testing.assert_array_equal(whole, expected)
    rng = np.random.default_rng(seed)
    for box in [random_box(rng, image.width, image.height) for _ in range(regions)]:
        part = image.decode(box)
        assert part.shape == (*box.size, 3)
        np.testing.assert_array_equal(part, expected[box.top : box.bottom, box.left : box.right], str(box))


@pytest.fixture(scope="module")
def photo(photos: list[bytes]) -> Pixels:
    """A real photograph's pixels, of odd size: 131x97."""
    return pillow(photos[0])[100:197, 200:331]


def test_box_size_is_height_and_width() -> None:
    assert Box(left=1, top=10, right=4, bottom=12).size == (2, 3)


def test_photographs_decode_as_pillow_does_whole_and_in_part(photos: list[bytes]) -> None:
    for data in photos:
        assert EncodedImage(data)._stream is not None  # nvImageCodec's, or the test compares Pillow with itself
        assert_decodes_as_pillow(data, regions=20)


@pytest.mark.slow
def test_imagenet_photographs_decode_as_pillow_does(shared_data: Path) -> None:
    """ImageNet's own files: greyscale, EXIF, every chroma subsampling among them."""
    modes = set()
    with tarfile.open(shared_data / "photos.tar") as tar:
        for number, member in enumerate(tar.getmembers()[::6]):
            file = tar.extractfile(member)
            assert file is not None
            data = file.read()
            modes.add(Image.open(io.BytesIO(data)).mode)
            assert_decodes_as_pillow(data, number, regions=3)
    assert "L" in modes


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}, {"quality": 30}])
def test_every_kind_of_jpeg_decodes_as_pillow_does(photo: Pixels, subsampling: str, options: dict[str, Any]) -> None:
    data = encoded(photo, "JPEG", subsampling=subsampling, **options)
    assert EncodedImage(data)._stream is not None
    assert_decodes_as_pillow(data, regions=10)


@pytest.mark.parametrize(
    ("file_format", "mode"),
    [
        ("JPEG", "L"),
        ("JPEG", "CMYK"),
        ("PNG", "RGB"),
        ("PNG", "RGBA"),
        ("PNG", "L"),
        ("PNG", "P"),
        ("PNG", "1"),
        ("WEBP", "RGB"),
    ],
)
def test_other_colours_and_formats_decode_as_pillow_does(photo: Pixels, file_format: str, mode: str) -> None:
    assert_decodes_as_pillow(encoded(photo, file_format, mode))


def without_segment(data: bytes, marker: bytes) -> bytes:
    at = data.index(marker)
    return data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") :]


def test_four_components_are_as_pillow_reads_them_with_and_without_adobes_marker(photo: Pixels) -> None:
    data = encoded(photo, "JPEG", "CMYK", quality=95)
    for content in (data, without_segment(data, b"\xff\xee")):
        assert EncodedImage(content)._stream is None
        assert_decodes_as_pillow(content)
        assert np.abs(EncodedImage(content).decode().astype(int) - photo).mean() < 8  # no negative


def test_three_components_that_are_rgb_are_not_taken_for_ycbcr(photo: Pixels) -> None:
    data = encoded(photo, "JPEG", keep_rgb=True, quality=95)
    for content in (data, without_segment(data, b"\xff\xee")):
        assert_decodes_as_pillow(content)
        assert np.abs(EncodedImage(content).decode().astype(int) - photo).mean() < 8


def test_16_bits_are_scaled_and_transparency_lies_on_white(photo: Pixels) -> None:
    deep = photo[..., 0].astype(np.uint16) * 257
    assert_parts_are(encoded_as_is(deep, "PNG"), np.dstack([photo[..., 0]] * 3))
    hidden = np.dstack([photo, np.where(photo[..., :1] > 99, 255, 0).astype(np.uint8)])
    assert_parts_are(encoded_as_is(hidden, "PNG"), np.where(photo[..., :1] > 99, photo, np.uint8(255)))


def encoded_as_is(pixels: NDArray[Any], file_format: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, file_format)
    return buffer.getvalue()


def assert_parts_are(data: bytes, expected: Pixels) -> None:
    image = EncodedImage(data)
    np.testing.assert_array_equal(image.decode(), expected)
    np.testing.assert_array_equal(image.decode(Box(5, 7, 50, 60)), expected[7:60, 5:50])


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_exif_orientation_is_ignored(photo: Pixels, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(photo, "JPEG", exif=exif)
    assert Image.open(io.BytesIO(data)).getexif()[0x0112] == orientation
    assert (EncodedImage(data).width, EncodedImage(data).height) == (131, 97)
    assert_decodes_as_pillow(data)


def test_the_smallest_image_decodes() -> None:
    for file_format in ("JPEG", "PNG"):
        assert_decodes_as_pillow(encoded(np.full((1, 1, 3), 200, np.uint8), file_format), regions=1)


def test_threads_decode_at_the_same_time(photos: list[bytes]) -> None:
    expected = [pillow(data) for data in photos]
    wrong: list[str] = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for turn in range(10):
            which = (seed + turn) % 2
            image = EncodedImage(photos[which])
            box = random_box(rng, image.width, image.height)
            if not np.array_equal(image.decode(box), expected[which][box.top : box.bottom, box.left : box.right]):
                wrong.append(f"{which} {box}")

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"\xff\xd8", b"\xff\xd8\xff\xe0", b"no image at all" * 50, b"\xff\xd8" + b"junk" * 100]
)
def test_what_has_no_header_is_corrupt(data: bytes) -> None:
    with pytest.raises(CorruptImage, match=r"\S"):
        EncodedImage(data)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("kept", [0.03, 0.3, 0.7, 0.98])
def test_truncated_images_are_corrupt(photo: Pixels, file_format: str, kept: float) -> None:
    data = encoded(photo, file_format)
    with pytest.raises(CorruptImage, match=r"\S"):
        EncodedImage(data[: int(len(data) * kept)]).decode()


def test_a_png_with_a_broken_chunk_is_corrupt() -> None:
    data = bytearray(encoded(np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8), "PNG"))
    second_chunk = data.index(b"IDAT", data.index(b"IDAT") + 4)
    data[second_chunk] = 0
    with pytest.raises(CorruptImage, match="broken PNG"):
        EncodedImage(bytes(data)).decode()


@pytest.mark.parametrize("side", [0, 60_000])
def test_a_jpeg_of_no_pixels_or_too_many_is_corrupt_before_it_is_decoded(side: int) -> None:
    content = bytearray(encoded(np.zeros((8, 8, 3), np.uint8), "JPEG"))
    at = content.index(b"\xff\xc0") + 5
    content[at : at + 4] = side.to_bytes(2, "big") * 2
    with pytest.raises(CorruptImage, match=rf"{side}x{side} pixels, none or more than"):
        EncodedImage(bytes(content))


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_an_image_too_long_for_views_is_refused_by_its_size(file_format: str) -> None:
    content = encoded(np.zeros((1, 4000, 3), np.uint8), file_format)
    with pytest.raises(CorruptImage, match="it has 4000x1 pixels: more than 1000 times as long as wide"):
        EncodedImage(content)
    assert EncodedImage(encoded(np.zeros((1000, 1, 3), np.uint8), file_format)).decode().shape == (1000, 1, 3)


@pytest.mark.parametrize("content", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"DDS " + b"\x7c" * 200])
def test_formats_that_start_other_programs_or_stumble_are_not_tried(content: bytes, ghostscript_ran: Path) -> None:
    with pytest.raises(CorruptImage):
        EncodedImage(content).decode()
    assert not ghostscript_ran.exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "BMP"])
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_damaged_bytes_decode_or_are_corrupt_and_nothing_else(
    file_format: str, data: st.DataObject, small_jpegs: list[bytes]
) -> None:
    damaged = bytearray(encoded(pillow(small_jpegs[0]), file_format))
    for place in data.draw(st.lists(st.integers(0, len(damaged) - 1), min_size=1, max_size=20)):
        damaged[place] = data.draw(st.integers(0, 255))
    try:
        image = EncodedImage(bytes(damaged))
        if image.width * image.height < 10_000_000:
            assert image.decode().shape == (image.height, image.width, 3)
    except CorruptImage:
        pass
