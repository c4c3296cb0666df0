"""What becomes of images of every mode: the right brightness, no hidden colours, a word about what they were."""

import io
import re
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from platform.data.modes import converted, in_colour_or_grey, in_rgb

RAMP = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)  # what 0, 1, 2 ... 255 are in 16 bits
STEPS = np.arange(256, dtype=np.uint8).reshape(16, 16)
WHITE = (255, 255, 255)


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def encoded(image: Image.Image | NDArray[Any], file_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, file_format, **options)
    return buffer.getvalue()


def pgm(values: NDArray[Any], largest: int) -> bytes:
    return b"P5 %d %d %d\n" % (*values.shape[::-1], largest) + values.astype(">u2").tobytes()


def pfm(values: NDArray[Any]) -> bytes:
    return b"Pf\n%d %d\n-1.0\n" % values.shape[::-1] + values[::-1].astype("<f4").tobytes()


def png(values: NDArray[Any], colour: int, transparent: tuple[int, ...] = ()) -> bytes:
    """Of 16 bits, which Pillow does not write in colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = values.shape[:2]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0))
    key = chunk(b"tRNS", struct.pack(f">{len(transparent)}H", *transparent)) if transparent else b""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return b"\x89PNG\r\n\x1a\n" + header + key + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def grey(content: bytes, value_range: tuple[float, float] | None = None) -> NDArray[np.uint8]:
    image = in_colour_or_grey(opened(content), value_range)
    assert image.mode == "L"
    return np.asarray(image)


def tiff_with(content: bytes, tag: int, value: int) -> bytes:
    """A TIFF of little-endian 16-bit tags with another value of one."""
    entry = struct.pack("<HHI", tag, 3, 1)
    at = content.index(entry) + len(entry)
    return content[:at] + struct.pack("<HH", value, 0) + content[at + 4 :]


@pytest.mark.parametrize(
    "content",
    [encoded(RAMP, "PNG"), encoded(RAMP, "TIFF"), encoded(Image.fromarray(RAMP), "PPM"), pgm(RAMP, 65535)],
    ids=["PNG", "TIFF", "PPM", "PGM"],
)
def test_16_bits_are_scaled_and_not_clipped(content: bytes) -> None:
    np.testing.assert_array_equal(grey(content), STEPS)
    assert "values 0 to 65535 as 0 to 255" in (converted(opened(content)) or "")
    for area in ((0, 0, 16, 16), (3, 2, 7, 9)):
        left, top, right, bottom = area
        part = np.asarray(in_rgb(opened(content), area))
        np.testing.assert_array_equal(part, np.dstack([STEPS] * 3)[top:bottom, left:right])


def test_a_big_endian_tiff_is_the_same_picture() -> None:
    big = encoded(Image.frombytes("I;16B", (16, 16), RAMP.astype(">u2").tobytes()), "TIFF")
    assert opened(big).mode == "I;16B"
    np.testing.assert_array_equal(grey(big), STEPS)


def test_values_between_are_rounded() -> None:
    values = np.array([[0, 128, 129, 385, 386, 65406, 65407, 65535]], np.uint16)
    np.testing.assert_array_equal(grey(encoded(values, "PNG")), [[0, 0, 1, 1, 2, 254, 255, 255]])


def test_the_largest_value_that_a_pgm_names_is_white() -> None:
    """12 bits, as cameras have."""
    np.testing.assert_allclose(grey(pgm(STEPS.astype(np.uint16) * 16, 255 * 16)), STEPS, atol=0)


def test_x_rays_that_store_white_as_zero_are_not_negatives() -> None:
    content = tiff_with(encoded(RAMP, "TIFF"), 262, 0)
    np.testing.assert_array_equal(grey(content), STEPS[::-1, ::-1])


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (encoded(STEPS.astype(np.int32) - 1000, "TIFF"), r"integers of 32 bits \(-1000 to -745 in it\)"),
        (encoded(STEPS.astype(np.float32) / 255, "TIFF"), r"floating-point numbers \(0 to 1 in it\)"),
        (pfm(STEPS / 255), r"floating-point numbers \(0 to 1 in it\)"),
    ],
    ids=["int32", "float32", "PFM"],
)
def test_an_unknown_range_is_asked_for(content: bytes, kind: str) -> None:
    for convert in (in_colour_or_grey, in_rgb, converted):
        with pytest.raises(ValueError, match=rf"{kind}.*give data.value_range=\[BLACK,WHITE\]"):
            convert(opened(content))


@pytest.mark.parametrize(
    ("values", "value_range"),
    [
        (STEPS.astype(np.int32) - 1000, (-1000.0, -745.0)),
        (STEPS.astype(np.float32) / 255, (0.0, 1.0)),
        (STEPS.astype(np.uint16) * 16, (0.0, 4080.0)),  # 12 bits in 16
    ],
)
def test_a_given_range_is_what_becomes_black_and_white(values: NDArray[Any], value_range: tuple[float, float]) -> None:
    content = encoded(values, "TIFF")
    np.testing.assert_array_equal(grey(content, value_range), STEPS)
    low, high = value_range
    assert f"values {low:g} to {high:g} as 0 to 255" in (converted(opened(content), value_range) or "")
    narrow = grey(content, (low, low + (high - low) / 2))
    assert narrow.max() == 255
    assert (narrow == 255).mean() > 0.49


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_refused(odd: float) -> None:
    values = STEPS.astype(np.float32)
    values[3, 3] = odd
    with pytest.raises(ValueError, match="values that are not finite"):
        grey(encoded(values, "TIFF"), (0, 255))


def transparent_images() -> dict[str, bytes]:
    """Their left half is opaque, and the colour that hides in the right half is not white."""
    red = np.zeros((8, 8, 4), np.uint8)
    red[..., 0], red[:, :4, 3] = 200, 255
    rgba = Image.fromarray(red, "RGBA")
    palette = Image.fromarray(np.repeat([[0] * 4 + [1] * 4], 8, 0).astype(np.uint8), "P")
    palette.putpalette([200, 0, 0, 10, 20, 30])
    two = np.zeros((8, 8, 3), np.uint16)
    two[:, :4, 0], two[:, 4:] = 200 * 257, (4096, 8192, 300)
    return {
        "PNG": encoded(rgba, "PNG"),
        "WebP": encoded(rgba, "WEBP", lossless=True, exact=True),
        "TIFF": encoded(rgba, "TIFF"),
        "palette": encoded(palette, "PNG", transparency=1),
        "palette with alphas": encoded(palette, "PNG", transparency=b"\xff\x00"),
        "GIF": encoded(palette, "GIF", transparency=1),
        "one of 16 bits": png(two, 2, (4096, 8192, 300)),
    }


@pytest.mark.parametrize("kind", list(transparent_images()))
def test_what_is_transparent_lies_on_white(kind: str) -> None:
    content = transparent_images()[kind]
    assert "what is transparent on white" in (converted(opened(content)) or "")
    shown = np.asarray(in_rgb(opened(content)))
    assert (shown[:, :4] == (200, 0, 0)).all()
    assert (shown[:, 4:] == WHITE).all()
    np.testing.assert_array_equal(np.asarray(in_rgb(opened(content), (2, 1, 7, 5))), shown[1:5, 2:7])


@pytest.mark.parametrize("key", [16, 4096])
def test_a_transparent_grey_is_white_too(key: int) -> None:
    values = np.array([[key, 0], [65535, key]], np.uint16)
    content = (
        png(values, 0, (key,)) if key > 255 else encoded(values.clip(0, 255).astype(np.uint8), "PNG", transparency=key)
    )
    np.testing.assert_array_equal(np.asarray(in_rgb(opened(content)))[..., 0], [[255, 0], [255, 255]])


def test_half_transparent_is_half_white_and_opaque_what_it_was() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 20, 4), dtype=np.uint8)
    shown = np.asarray(in_rgb(opened(encoded(Image.fromarray(pixels, "RGBA"), "PNG"))))
    alpha = pixels[..., 3:] / 255
    np.testing.assert_allclose(shown, pixels[..., :3] * alpha + 255 * (1 - alpha), atol=1)
    pixels[..., 3] = 255
    shown = np.asarray(in_rgb(opened(encoded(Image.fromarray(pixels, "RGBA"), "PNG"))))
    np.testing.assert_array_equal(shown, pixels[..., :3])


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "P", "CMYK", "YCbCr"])
def test_what_loses_nothing_is_as_pillow_converts_it(mode: str) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)).convert(mode)
    np.testing.assert_array_equal(np.asarray(in_rgb(image)), np.asarray(image.convert("RGB")))
    assert converted(image) == (None if mode in ("1", "L", "RGB") else f"{mode} (as RGB)")


def test_what_is_left_out_is_said() -> None:
    pictures = [Image.fromarray(STEPS), Image.fromarray(STEPS.T.copy())]
    for file_format in ("GIF", "TIFF", "PNG", "WEBP"):
        several = encoded(pictures[0], file_format, save_all=True, append_images=pictures[1:])
        assert "the first of several pictures" in (converted(opened(several)) or ""), file_format
    assert converted(opened(encoded(pictures[0], "TIFF"))) is None
    assert converted(opened(encoded(pictures[0], "MPO", save_all=True, append_images=pictures[1:]))) is None
    assert converted(opened(png(np.dstack([RAMP] * 3), 2))) == "RGB (the upper 8 of 16 bits)"


def whole_tiff(values: NDArray[Any]) -> bytes:
    """Grey of any kind of integers, which Pillow writes not all of."""
    height, width = values.shape
    sample_format, bits = (2 if values.dtype.kind == "i" else 1), 8 * values.dtype.itemsize
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: 1, 273: 0, 277: 1, 278: height, 279: values.nbytes}
    tags |= {339: sample_format}
    tags[273] = 8 + 2 + 12 * len(tags) + 4  # where the pixels begin
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + values.tobytes()


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.uint32, np.int16, np.int32])
def test_integers_of_a_tiff_are_signed_or_not_as_it_says(kind: type[np.integer[Any]]) -> None:
    limits = np.iinfo(kind)
    values = np.linspace(limits.min, limits.max, 4096).astype(kind).reshape(64, 64)
    image = Image.open(io.BytesIO(whole_tiff(values)))
    if kind in (np.uint32, np.int32):
        said = f"integers of 32 bits ({float(values.min()):g} to {float(values.max()):g} in it)"
        with pytest.raises(ValueError, match=re.escape(said)):
            converted(image)
    grey = in_colour_or_grey(image, (float(limits.min), float(limits.max)))
    span = float(limits.max) - float(limits.min)
    np.testing.assert_array_equal(np.asarray(grey), np.rint((values.astype(float) - limits.min) * (255 / span)))


def test_signed_integers_of_8_bits_are_refused() -> None:
    image = Image.open(io.BytesIO(whole_tiff(np.zeros((4, 4), np.int8))))
    with pytest.raises(ValueError, match="signed integers of 8 bits; write them as unsigned ones, 0 to 255"):
        in_colour_or_grey(image)
