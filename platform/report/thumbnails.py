"""Pixels as data URIs, small enough that dozens fit into a page."""

import base64
import io
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

SIDE = 128  # pixels: larger images are shrunk to it
EXACT_UP_TO = 48  # pixels of the longer side, up to which an image is stored without loss and shown as squares


def uri_of(pixels: NDArray[np.uint8], side: int = SIDE) -> str:
    """An image as a data URI, in its shape, the longer side at most `side` pixels.

    Args:
        pixels: `[H, W, 3]` RGB or `[H, W, 4]` RGBA.
        side: the most pixels.
    """
    from PIL import Image

    image = Image.fromarray(pixels)
    image.thumbnail((side, side))
    return _uri(image, exact=max(image.size) <= EXACT_UP_TO or pixels.shape[2] == 4)


def _uri(image: "Image.Image", *, exact: bool) -> str:
    buffer = io.BytesIO()
    if exact:
        image.save(buffer, "PNG", optimize=True)
    else:
        image.save(buffer, "JPEG", quality=82, optimize=True)
    return f"data:image/{'png' if exact else 'jpeg'};base64,{base64.b64encode(buffer.getvalue()).decode()}"
