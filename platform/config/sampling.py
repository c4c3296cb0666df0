"""`sampling`: what of an image a training sample shows."""

from dataclasses import dataclass, field

from platform.config.checks import (
    require_at_least,
    require_choice,
    require_range,
)
from platform.config.choices import SAMPLING_METHODS

INTERPOLATIONS = ("bilinear", "bicubic", "area", "nearest", "random")


@dataclass
class SamplingConfig:
    """Which part of an image a training sample shows, and how its colours are changed."""

    name: str = "multi_scale"  # for tables
    method: str = "area_aspect"  # of SAMPLING_METHODS
    area: list[float] = field(default_factory=lambda: [0.08, 1.0])  # share of the image, uniform
    aspect: list[float] = field(default_factory=lambda: [3 / 4, 4 / 3])  # width / height, log-uniform
    interpolation: str = "bilinear"  # "random": one of the four for each sample
    repeats: int = 1  # crops of a sample in a row, of 1 / repeats of the samples an epoch (repeated augmentation)
    mirror: bool = True  # half of the samples, where data.mirror allows it
    photometric: bool = False  # Howard's contrast, brightness, colour and lighting noise
    photometric_range: list[float] = field(default_factory=lambda: [0.5, 1.5])  # of its factors; 1: unchanged
    lighting_std: float = 0.1  # of its lighting noise, along the principal components of colour

    def __post_init__(self) -> None:
        require_choice("sampling.method", self.method, SAMPLING_METHODS)
        require_choice("sampling.interpolation", self.interpolation, INTERPOLATIONS)
        require_at_least("sampling.repeats", self.repeats, 1)
        require_range("sampling.area", self.area, 0.001, 1.0)
        require_range("sampling.aspect", self.aspect, 0.1, 10.0)
        require_range("sampling.photometric_range", self.photometric_range, 0.0, 10.0)
        require_at_least("sampling.lighting_std", self.lighting_std, 0)
