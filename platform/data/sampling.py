"""Which part of an image a training sample shows: size and uniform draws in, a crop out. Pure arithmetic.

Every method comes down to a box of source pixels that is resized to the network's input, so that only the box needs
decoding. The colours are changed later, on the device (`pixels`). A new method is a function here, and its line in
`platform/config/choices.py`.
"""

import math
from dataclasses import dataclass

from platform.config.choices import SAMPLING_METHODS, chosen
from platform.config.data import DataConfig
from platform.config.sampling import SamplingConfig
from platform.config.transforms import MOST_OPS, TransformsConfig
from platform.data.decode import Box

ATTEMPTS = 10
# Places in a sample's row of uniform draws; what every training uses comes first.
BOX_DRAWS = slice(0, 2 * ATTEMPTS)  # area and aspect of each attempt
LEFT, TOP, MIRROR, INTERPOLATION = range(2 * ATTEMPTS, 2 * ATTEMPTS + 4)
COLOUR_DRAWS = slice(2 * ATTEMPTS + 4, 2 * ATTEMPTS + 12)
DROPOUT_DRAW = 2 * ATTEMPTS + 12
MIXING_DRAWS = slice(2 * ATTEMPTS + 13, 2 * ATTEMPTS + 18)  # see `mixing`
OPERATION_DRAWS = slice(2 * ATTEMPTS + 18, 2 * ATTEMPTS + 18 + 5 * MOST_OPS)  # see `policies`
ERASING_DRAWS = slice(OPERATION_DRAWS.stop, OPERATION_DRAWS.stop + 3 + 2 * ATTEMPTS)
DRAWS = ERASING_DRAWS.stop

INTERPOLATION_CHOICES = ("bilinear", "area", "nearest", "bicubic")
PAPER_MIN_AREA = 0.08
TEST_SCALE = 256 / 224  # shorter side of the image to side of the network's input (AlexNet, GoogLeNet)


@dataclass(frozen=True)
class Crop:
    """One training view of one image."""

    box: Box
    interpolation: str
    mirrored: bool


def crop(sampling: SamplingConfig, data: DataConfig, width: int, height: int, draws: list[float]) -> Crop:
    """The crop of an image of `width` x `height` pixels for a row of uniform draws in [0, 1)."""
    box = chosen(SAMPLING_METHODS[sampling.method])(sampling, data, width, height, draws)
    if sampling.interpolation == "random":
        interpolation = INTERPOLATION_CHOICES[int(draws[INTERPOLATION] * len(INTERPOLATION_CHOICES))]
    else:
        interpolation = sampling.interpolation
    return Crop(box, interpolation, sampling.mirror and data.mirror and draws[MIRROR] < 0.5)


def draws_used(transforms: TransformsConfig) -> int:
    """How many draws a sample needs: all up to the last that is used. As many as there are changes none of them."""
    if transforms.erase_probability > 0:
        return ERASING_DRAWS.stop
    if transforms.name != "none":
        return OPERATION_DRAWS.stop
    return MIXING_DRAWS.stop if transforms.mixes else DROPOUT_DRAW + 1


def area_range(sampling: SamplingConfig, data: DataConfig) -> tuple[float, float]:
    """The method's areas on this data set: 8%, enough of a photograph to know it by, becomes `min_crop_area`."""
    stretch = (1 - data.min_crop_area) / (1 - PAPER_MIN_AREA)
    low, high = (1 - (1 - area) * stretch for area in sampling.area)
    floor = min(sampling.area[0], data.min_crop_area)
    return max(low, floor), max(high, floor)


def area_aspect(sampling: SamplingConfig, data: DataConfig, width: int, height: int, draws: list[float]) -> Box:
    """Area uniform in its range, aspect ratio log-uniform in its own (GoogLeNet, section 6); the centre if ten tries do
    not fit."""
    low, high = area_range(sampling, data)
    log_low, log_high = (math.log(aspect) for aspect in sampling.aspect)
    for attempt in range(ATTEMPTS):
        area = width * height * (low + (high - low) * draws[2 * attempt])
        aspect = math.exp(log_low + (log_high - log_low) * draws[2 * attempt + 1])
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return _placed(w, h, int(draws[LEFT] * (width - w + 1)), int(draws[TOP] * (height - h + 1)))
    aspect = min(max(width / height, sampling.aspect[0]), sampling.aspect[1])
    w, h = min(width, max(1, round(height * aspect))), min(height, max(1, round(width / aspect)))
    return _placed(w, h, (width - w) // 2, (height - h) // 2)


def random_square(sampling: SamplingConfig, data: DataConfig, width: int, height: int, draws: list[float]) -> Box:
    """AlexNet's crop, 224 of a shorter side of 256 px, as a box of the unresized image."""
    side = _square_side(width, height)
    return _placed(side, side, int(draws[LEFT] * (width - side + 1)), int(draws[TOP] * (height - side + 1)))


def centre_square(sampling: SamplingConfig, data: DataConfig, width: int, height: int, draws: list[float]) -> Box:
    """The square of the same size in the middle, which is also what a single-view evaluation shows."""
    side = _square_side(width, height)
    return _placed(side, side, (width - side) // 2, (height - side) // 2)


def _square_side(width: int, height: int) -> int:
    return max(1, round(min(width, height) / TEST_SCALE))


def _placed(w: int, h: int, left: int, top: int) -> Box:
    return Box(left, top, left + w, top + h)
