"""The bytes of an image as a shard holds them: as they are where that can be, else as JPEG, shrunk only if asked.

In: encoded or decoded images. Out: extension and bytes, decoded once with training's own code, so that what is packed
can be read, and a word about images that were not 8-bit grey or RGB. EXIF orientation is not applied here either, and
colour profiles are not: pixels are used as stored.
"""

import io
from importlib import metadata
from typing import NamedTuple

from PIL import Image, features

from platform.data.decode import FORMATS, EncodedImage
from platform.data.modes import ValueRange, converted, in_colour_or_grey, is_deep, shows_grey

# Kept as they are; MPO is a JPEG with a second picture behind it, as telephones write it.
KEPT_FORMATS = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png", "WEBP": "webp"}
CONVERTED_FORMATS = ("BMP", "GIF", "PPM", "TIFF")  # and no others: some that Pillow knows start other programs
FULL_CHROMA = 0  # Pillow's number of 4:4:4, for formats that have all of it
HALF_CHROMA = 2  # of 4:2:0, for shrunk images, as cameras and other packers have it: a quarter less to decode
# What the bytes of a shrunk or converted image depend on besides it.
CODECS = (
    f"pillow {metadata.version('pillow')}, libjpeg {features.version_feature('libjpeg_turbo')}, "
    f"nvimgcodec {metadata.version('nvidia-nvimgcodec-cu13')}"
)


class Stored(NamedTuple):
    """An image as a shard holds it."""

    extension: str
    content: bytes
    converted: str | None  # what it was before it became 8-bit grey or RGB, here or, of kept bytes, when it is read


def stored(
    content: bytes | Image.Image, shorter_side: int | None, quality: int, value_range: ValueRange | None = None
) -> Stored:
    """An image's bytes.

    Args:
        content: encoded, or decoded by its source.
        shorter_side: in pixels; larger images are shrunk to it. None: none is.
        quality: of the JPEG that becomes of a shrunk image and of formats that shards do not hold.
        value_range: of grey of more than 8 bits, what becomes black and white. None: what its mode or file says.

    Raises:
        ValueError, OSError, SyntaxError, Image.DecompressionBombError, ...: no readable image, or nobody says the range
            of its values.
    """
    if isinstance(content, Image.Image):
        return _as_jpeg(in_colour_or_grey(content, value_range), shorter_side, quality, converted(content, value_range))
    header = Image.open(io.BytesIO(content), formats=(*FORMATS, *CONVERTED_FORMATS))
    was = converted(header, value_range)
    if header.format not in KEPT_FORMATS or (is_deep(header) and value_range):  # training knows of no other range
        return _as_jpeg(in_colour_or_grey(header, value_range), shorter_side, quality, was)
    image = Image.fromarray(EncodedImage(content).decode())  # torn files fail here, not in training
    if shorter_side is None or min(header.size) <= shorter_side:
        return Stored(KEPT_FORMATS[header.format], content, was)
    return _as_jpeg(image.getchannel(0) if shows_grey(header) else image, shorter_side, quality, was)


def by_range(was: str) -> bool:
    """Whether what `Stored.converted` says is of an image whose values were scaled by a range."""
    return "as 0 to 255" in was


def _as_jpeg(image: Image.Image, shorter_side: int | None, quality: int, was: str | None) -> Stored:
    shrunk = _shrunk(image, shorter_side)
    packed = _jpeg(shrunk, quality, FULL_CHROMA if shrunk.size == image.size else HALF_CHROMA)
    EncodedImage(packed)  # its size and shape will do
    return Stored("jpg", packed, was)


def _shrunk(image: Image.Image, shorter_side: int | None) -> Image.Image:
    if shorter_side is None or min(image.size) <= shorter_side:
        return image
    scale = shorter_side / min(image.size)
    size = (max(shorter_side, round(image.width * scale)), max(shorter_side, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS)


def _jpeg(image: Image.Image, quality: int, subsampling: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    return buffer.getvalue()
