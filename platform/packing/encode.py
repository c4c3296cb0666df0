"""The bytes of an image in a shard: the source's own where possible, else a JPEG; shrunk only if asked for.

In: encoded or decoded images. Out: extension, bytes, and the mode of images that were not 8-bit grey or RGB. Each image
is decoded once with training's own code, so that what is packed can be read. As in training, EXIF orientation and
colour profiles are not applied.
"""

import functools
import io
from importlib import metadata
from typing import NamedTuple

from PIL import Image, features

from platform.data.decode import FORMATS, EncodedImage
from platform.data.modes import ValueRange, converted, in_colour_or_grey, is_deep, shows_grey
from platform.packing.restart_markers import ENCODED, LEAST_BYTES, SMALL, interval, with_markers

# Kept as they are. MPO is a JPEG followed by a second image, as telephones write it.
KEPT_FORMATS = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png", "WEBP": "webp"}
CONVERTED_FORMATS = ("BMP", "GIF", "PPM", "TIFF")  # no others: for some Pillow starts other programs
FULL_CHROMA = 0  # 4:4:4 to Pillow, for converted images
HALF_CHROMA = 2  # 4:2:0 to Pillow, for shrunk images, as cameras and other packers use: decoding takes a quarter less
# Versions that the bytes of a shrunk or converted image depend on.
CODECS = (
    f"pillow {metadata.version('pillow')}, libjpeg {features.version_feature('libjpeg_turbo')}, "
    f"nvimgcodec {metadata.version('nvidia-nvimgcodec-cu13')}"
)


class Stored(NamedTuple):
    """An image as a shard holds it."""

    extension: str
    content: bytes
    converted: str | None  # its mode if it is not 8-bit grey or RGB; it becomes so here, or when kept bytes are read
    markers: str | None = None  # what became of a JPEG that was to get restart markers, see `restart_markers`


def stored(
    content: bytes | Image.Image,
    shorter_side: int | None,
    quality: int,
    value_range: ValueRange | None = None,
    *,
    markers: bool = False,
) -> Stored:
    """An image as a shard holds it.

    Args:
        content: the image's file, or the image decoded by its source.
        shorter_side: in pixels; larger images are shrunk to it. None: no image is.
        quality: of JPEGs made of shrunk images and of formats that shards do not hold, 1 to 100.
        value_range: (black, white) of grey images of more than 8 bits. None: as their mode or file says.
        markers: have restart markers in JPEGs, see `restart_markers`.

    Raises:
        ConfigError: `jpegtran` is needed and not there.
        ValueError, OSError, SyntaxError, Image.DecompressionBombError, ...: the image cannot be read, or the range of
            its values is not known.
    """
    as_jpeg = functools.partial(_as_jpeg, shorter_side=shorter_side, quality=quality, markers=markers)
    if isinstance(content, Image.Image):
        return as_jpeg(in_colour_or_grey(content, value_range), was=converted(content, value_range))
    header = Image.open(io.BytesIO(content), formats=(*FORMATS, *CONVERTED_FORMATS))
    was = converted(header, value_range)
    if header.format not in KEPT_FORMATS or (is_deep(header) and value_range):  # training knows no range
        return as_jpeg(in_colour_or_grey(header, value_range), was=was)
    pixels = EncodedImage(content).decode()  # torn files fail here, not in training
    if shorter_side is None or min(header.size) <= shorter_side:
        extension, outcome = KEPT_FORMATS[header.format], None
        if markers and extension == "jpg":
            content, outcome = with_markers(content, header, pixels)
        return Stored(extension, content, was, outcome)
    image = Image.fromarray(pixels)
    return as_jpeg(image.getchannel(0) if shows_grey(header) else image, was=was)


def by_range(was: str) -> bool:
    """Whether `Stored.converted` is of an image whose values were scaled by a range."""
    return "as 0 to 255" in was


def _as_jpeg(image: Image.Image, shorter_side: int | None, quality: int, was: str | None, *, markers: bool) -> Stored:
    shrunk = _shrunk(image, shorter_side)
    subsampling = FULL_CHROMA if shrunk.size == image.size else HALF_CHROMA
    packed = _jpeg(shrunk, quality, subsampling)
    outcome = None
    if markers:
        outcome = SMALL if len(packed) < LEAST_BYTES else ENCODED
        packed = packed if outcome == SMALL else _jpeg(shrunk, quality, subsampling, markers=True)
    EncodedImage(packed)  # its size and shape will do
    return Stored("jpg", packed, was, outcome)


def _shrunk(image: Image.Image, shorter_side: int | None) -> Image.Image:
    if shorter_side is None or min(image.size) <= shorter_side:
        return image
    scale = shorter_side / min(image.size)
    size = (max(shorter_side, round(image.width * scale)), max(shorter_side, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS)


def _jpeg(image: Image.Image, quality: int, subsampling: int, *, markers: bool = False) -> bytes:
    buffer = io.BytesIO()
    unit = 16 if subsampling == HALF_CHROMA and image.mode != "L" else 8  # pixels
    between = {"restart_marker_blocks": interval(-(-image.width // unit))} if markers else {}
    image.save(buffer, "JPEG", quality=quality, subsampling=subsampling, **between)
    return buffer.getvalue()
