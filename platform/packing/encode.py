"""The bytes of an image as a shard holds them: as they are where that can be, else as JPEG, shrunk only if asked.

In: encoded or decoded images. Out: (extension, bytes), decoded once with training's own code, so that what is packed
can be read. EXIF orientation is not applied here either, and colour profiles are not: pixels are used as stored.
"""

import io
from importlib import metadata

from PIL import Image, features

from platform.data.decode import FORMATS, EncodedImage

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


def stored(content: bytes | Image.Image, shorter_side: int | None, quality: int) -> tuple[str, bytes]:
    """(extension, bytes) of an image.

    Args:
        content: encoded, or decoded by its source.
        shorter_side: in pixels; larger images are shrunk to it. None: none is.
        quality: of the JPEG that becomes of a shrunk image and of formats that shards do not hold.

    Raises:
        ValueError, OSError, SyntaxError, Image.DecompressionBombError, ...: no readable image.
    """
    if isinstance(content, Image.Image):
        shrunk = _shrunk(_in_colour_or_grey(content), shorter_side)
        return "jpg", _jpeg(shrunk, quality, FULL_CHROMA if shrunk.size == content.size else HALF_CHROMA)
    header = Image.open(io.BytesIO(content), formats=(*FORMATS, *CONVERTED_FORMATS))
    is_larger = shorter_side is not None and min(header.size) > shorter_side
    if header.format not in KEPT_FORMATS:
        image = _in_colour_or_grey(header)
    else:
        image = Image.fromarray(EncodedImage(content).decode())  # torn files fail here, not in training
        if not is_larger:
            return KEPT_FORMATS[header.format], content
        if header.mode in ("L", "1"):
            image = image.getchannel(0)  # all three are the same
    return "jpg", _jpeg(_shrunk(image, shorter_side), quality, HALF_CHROMA if is_larger else FULL_CHROMA)


def _in_colour_or_grey(image: Image.Image) -> Image.Image:
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


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
