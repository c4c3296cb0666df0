"""Images of any of Pillow's modes as 8-bit RGB or grey: more than 8 bits are scaled by their range, transparent pixels
are drawn on white. Pillow's own `convert` would clip the former and show hidden colours of the latter.

In: an opened image. Out: an image of mode L or RGB, and a note on what it was. Colour profiles are not applied.
"""

import contextlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

BACKGROUND = 255  # white: transparent images are mostly made for white pages
SIXTEEN_BITS = (0.0, 65535.0)
_RANGES = {"I;16": SIXTEEN_BITS, "I;16L": SIXTEEN_BITS, "I;16B": SIXTEEN_BITS, "I": None, "F": None}  # of deep grey
_RAW_RANGES = {"I;12": (0.0, 4095.0)}  # of values that a file holds in fewer bits than Pillow
_GREY = ("1", "L", "LA", "La", *_RANGES)
_BITS, _SAMPLE_FORMAT = 258, 339  # TIFF
_UNSIGNED, _SIGNED = 1, 2  # Pillow reads unsigned integers of 32 bits as signed, and signed ones of 8 as unsigned
_WHITE_IS_ZERO, _PHOTOMETRIC = 0, 262  # TIFF, such as X-rays; Pillow inverts only images of 1 and 8 bits

ValueRange = tuple[float, float]
Area = tuple[int, int, int, int]  # left, top, right, bottom


def is_deep(image: Image.Image) -> bool:
    """Whether it is a grey image of more than 8 bits."""
    return image.mode in _RANGES


def in_rgb(image: Image.Image, area: Area | None = None) -> Image.Image:
    """The image, or its `area`, in mode RGB; grey gets three equal channels. Raises what `in_colour_or_grey` does."""
    found = in_colour_or_grey(image, area=area)
    return found if found.mode == "RGB" else found.convert("RGB")


def in_colour_or_grey(
    image: Image.Image, value_range: ValueRange | None = None, area: Area | None = None
) -> Image.Image:
    """The image in mode L or RGB.

    Args:
        image: not cropped or resized yet, which would lose what its file says of the range.
        value_range: the values of deep grey that become 0 and 255; by default the range of its mode or file.
        area: the part to convert, in pixels; by default all.

    Raises:
        ValueError: its range is not known, a value is not finite, or Pillow would misread its values.
    """
    if image.mode in ("L", "RGB", "RGBA") and _tag(image, _SAMPLE_FORMAT) == _SIGNED:
        raise ValueError("its values are signed integers of 8 bits; write them as unsigned ones, 0 to 255")
    if is_deep(image):
        return _scaled(image, value_range, area)
    hidden = image.has_transparency_data
    deep_key = image.info.get("transparency") if image.mode == "RGB" and _bits(image) == 16 else None
    part = image if area is None else image.crop(area)
    if hidden:
        if isinstance(deep_key, tuple):  # the transparent colour of 16 bits a channel, of which Pillow keeps 8
            part.info["transparency"] = tuple(value >> 8 for value in deep_key)
        return _on_background(part)
    return part if part.mode in ("L", "RGB") else part.convert("L" if part.mode == "1" else "RGB")


def shows_grey(image: Image.Image) -> bool:
    """Whether its mode has grey only, so that its three channels in RGB are equal."""
    return image.mode in _GREY


def converted(image: Image.Image, value_range: ValueRange | None = None) -> str | None:
    """Describe what an image was before it became 8-bit grey or RGB; None where it was that already."""
    notes = []
    if is_deep(image):
        low, high = value_range or _known_range(image)
        notes.append(f"values {low:g} to {high:g} as 0 to 255")
    elif _bits(image) == 16:
        notes.append("the upper 8 of 16 bits")
    if image.has_transparency_data:
        notes.append("what is transparent on white")
    if _is_first_of_several(image):
        notes.append("the first of several pictures")
    if not notes and image.mode in ("1", "L", "RGB"):
        return None
    return f"{image.mode} ({', '.join(notes) or 'as RGB'})"


def _scaled(image: Image.Image, value_range: ValueRange | None, area: Area | None) -> Image.Image:
    """Deep grey as 8-bit grey: `low` or less is 0, `high` or more is 255, in between it is rounded."""
    low, high = value_range or _known_range(image)
    white_is_zero = _tag(image, _PHOTOMETRIC) == _WHITE_IS_ZERO
    transparent = image.info.get("transparency")
    values: NDArray[Any] = np.asarray(image if area is None else image.crop(area))
    if values.dtype == np.int32 and _is_unsigned(image):
        values = values.view(np.uint32)
    if values.dtype in (np.uint8, np.uint16):
        grey = _stretched(np.arange(65536), low, high)[values]
    else:
        if not np.isfinite(values).all():
            raise ValueError("it has values that are not finite numbers")
        grey = _stretched(values, low, high)
    if white_is_zero:
        grey = 255 - grey
    if isinstance(transparent, int):
        grey = np.where(values == transparent, np.uint8(BACKGROUND), grey)
    return Image.fromarray(grey)


def _is_unsigned(image: Image.Image) -> bool:
    """Whether values of 32 bits are, which a TIFF says by saying nothing, too."""
    return _tag(image, _BITS) == 32 and _tag(image, _SAMPLE_FORMAT) in (None, _UNSIGNED)


def _tag(image: Image.Image, number: int) -> int | None:
    """The first value of a TIFF's tag."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return None
    found: Any = image.tag_v2.get(number)
    first: Any = found[0] if isinstance(found, tuple) and found else found
    return first


def _stretched(values: NDArray[np.generic], low: float, high: float) -> NDArray[np.uint8]:
    return np.rint(((values.astype(np.float64) - low) * (255 / (high - low))).clip(0, 255)).astype(np.uint8)


def _known_range(image: Image.Image) -> ValueRange:
    """The values that stand for black and white."""
    if image.format == "PPM" and image.mode == "I":
        return SIXTEEN_BITS  # Pillow has stretched it by the largest value that the file names
    found = _RAW_RANGES.get(_raw_mode(image), _RANGES[image.mode])
    if found is None:
        kind = "floating-point numbers" if image.mode == "F" else "integers of 32 bits"
        low, high = _extremes(image)
        raise ValueError(
            f"its values are {kind} ({low:g} to {high:g} in it), of which nobody says what is black and what is white; "
            "give data.value_range=[BLACK,WHITE]"
        )
    return found


def _extremes(image: Image.Image) -> ValueRange:
    if image.mode == "I" and _is_unsigned(image):
        values = np.asarray(image).view(np.uint32)
        return float(values.min()), float(values.max())
    return image.getextrema()  # pyright: ignore[reportReturnType]


def _bits(image: Image.Image) -> int:
    """Of each channel in the file, as far as Pillow's name for its layout tells."""
    return 16 if ";16" in _raw_mode(image) else 8


def _raw_mode(image: Image.Image) -> str:
    """Pillow's name for how the file holds its pixels, such as RGB;16B; known until they are loaded."""
    for tile in getattr(image, "tile", ()):
        layout = tile.args if isinstance(tile.args, tuple) else (tile.args,)
        return layout[0] if layout and isinstance(layout[0], str) else ""
    return ""


def _on_background(image: Image.Image) -> Image.Image:
    layers = image.convert("RGBA")
    opaque = Image.new("RGB", image.size, (BACKGROUND,) * 3)
    opaque.paste(layers, mask=layers.getchannel("A"))
    return opaque


def _is_first_of_several(image: Image.Image) -> bool:
    """Of an animation or pages. A second picture behind a JPEG (MPO, from telephones) does not count."""
    if image.format in (None, "MPO"):
        return False
    with contextlib.suppress(Exception):  # what is behind the first picture may be torn
        return bool(getattr(image, "is_animated", False))
    return False
