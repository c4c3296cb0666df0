"""Inception-v3 (Szegedy et al., *Rethinking the Inception Architecture for Computer Vision*, CVPR 2016).

As its authors released it, which is more than the paper's Table 1 tells; torchvision's `inception_v3` is the same
network. In: images `[N, 3, H, W]`. Out: logits `[N, classes]`, and in training those of the auxiliary head.
"""

from torch import nn

from platform.config.models import InceptionV3Config
from platform.models.branches import Branch, Conv, ConvNormReLU
from platform.models.inception import (
    REDUCTION_TO_8,
    REDUCTION_TO_17,
    Inception,
    expanded,
    factorised_5x5,
    factorised_7x7,
)

MODULES: dict[str, list[Branch]] = {
    "35a": factorised_5x5(32),
    "35b": factorised_5x5(64),
    "35c": factorised_5x5(64),
    "17": REDUCTION_TO_17,
    "17a": factorised_7x7(128),
    "17b": factorised_7x7(160),
    "17c": factorised_7x7(160),
    "17d": factorised_7x7(192),
    "8": REDUCTION_TO_8,
    "8a": expanded(),
    "8b": expanded(),
}
AUXILIARY_AFTER = "17d"
STEM_CHANNELS = 192


class InceptionV3(Inception):
    """The network of 299 px, and those of Table 2 for smaller images, whose maps are as large.

    Args:
        classes: outputs of both classifiers.
        image_size: height and width in pixels that the auxiliary head is built for; the trunk takes any that is large
            enough for its maps.
        first_stride: of the first convolution: 2; 1 for 151 and 79 px.
        first_pool: a max pooling after the third; none for 79 px.
        auxiliary_batch_norm: see `AuxiliaryHead`.
        dropout: probability before the classifier.

    Raises:
        ValueError: `image_size` is too small.
    """

    def __init__(
        self,
        classes: int = 1000,
        image_size: int = 299,
        *,
        first_stride: int = 2,
        first_pool: bool = True,
        auxiliary_batch_norm: bool = True,
        dropout: float = 0.2,
    ) -> None:
        super().__init__(
            _stem(first_stride, first_pool=first_pool),
            STEM_CHANNELS,
            MODULES,
            AUXILIARY_AFTER,
            auxiliary_map_size(image_size, first_stride, first_pool=first_pool),
            classes,
            auxiliary_batch_norm=auxiliary_batch_norm,
            dropout=dropout,
        )


def _stem(first_stride: int, *, first_pool: bool) -> nn.Sequential:
    """The 7x7 convolution of GoogLeNet as three of 3x3, then two more: 299 px -> maps of 35x35."""
    return nn.Sequential(
        ConvNormReLU(3, Conv(32, 3, stride=first_stride, padded=False)),
        ConvNormReLU(32, Conv(32, 3, padded=False)),
        ConvNormReLU(32, Conv(64, 3)),
        *([nn.MaxPool2d(3, stride=2)] if first_pool else []),
        ConvNormReLU(64, Conv(80)),
        ConvNormReLU(80, Conv(STEM_CHANNELS, 3, padded=False)),
        nn.MaxPool2d(3, stride=2),
    )


def auxiliary_map_size(image_size: int, first_stride: int, *, first_pool: bool) -> int:
    """Pixels each way of the maps that the auxiliary head reads.

    Raises:
        ValueError: the image is too small for the last module.
    """
    halved = lambda size: (size - 3) // 2 + 1  # noqa: E731
    size = (image_size - 3) // first_stride + 1 - 2
    size = halved(halved(halved(size) - 2) if first_pool else halved(size - 2))
    if halved(size) < 1:
        raise ValueError(
            f"image_size is {image_size}; Inception-v3 needs at least 75 pixels, with model.first_stride=1 39, and 21 "
            "with model.first_pool=false as well"
        )
    return size


def build(model: InceptionV3Config, classes: int, image_size: int) -> InceptionV3:
    """The network of these settings."""
    return InceptionV3(
        classes,
        image_size,
        first_stride=model.first_stride,
        first_pool=model.first_pool,
        auxiliary_batch_norm=model.auxiliary_batch_norm,
        dropout=model.dropout,
    )
