"""Inception-v2 (Szegedy et al., *Rethinking the Inception Architecture for Computer Vision*, CVPR 2016, Table 1).

The table gives the layers of the stem, the modules' figures and the width that each part takes in. It does not tell the
widths inside of the modules: they are those of the released Inception-v3, which has 4 modules at 17x17 where the table
has 5. In: images `[N, 3, H, W]`, H, W >= 75. Out: logits `[N, classes]`, in training also those of the auxiliary head.
"""

from torch import nn

from platform.config.models import InceptionV2Config
from platform.models.branches import Branch, Conv, ConvNormReLU
from platform.models.inception import (
    REDUCTION_TO_8,
    REDUCTION_TO_17,
    Inception,
    expanded,
    factorised_5x5,
    factorised_7x7,
)
from platform.models.inception_v3 import auxiliary_map_size

MODULES: dict[str, list[Branch]] = {
    "35a": factorised_5x5(64),
    "35b": factorised_5x5(64),
    "35c": factorised_5x5(64),
    "17": REDUCTION_TO_17,
    "17a": factorised_7x7(128),
    "17b": factorised_7x7(160),
    "17c": factorised_7x7(160),
    "17d": factorised_7x7(160),
    "17e": factorised_7x7(192),
    "8": REDUCTION_TO_8,
    "8a": expanded(),
    "8b": expanded(),
}
AUXILIARY_AFTER = "17e"
STEM_CHANNELS = 288
MIN_IMAGE_SIZE = 75


class InceptionV2(Inception):
    """The network of Table 1, for images of 299 pixels.

    Args:
        classes: outputs of both classifiers.
        image_size: height and width in pixels that the auxiliary head is built for; the trunk takes any from 75 on.
        factorised_stem: the first convolution as three of 3x3, as Table 1 has it. Without, one of 7x7 with stride 2 and
            as many channels, whose maps are of the same size: what Table 3 has before its row "factorised 7x7".
        auxiliary_batch_norm: see `AuxiliaryHead`; Table 3's last row.
        dropout: probability before the classifier.

    Raises:
        ValueError: `image_size` is too small.
    """

    def __init__(
        self,
        classes: int = 1000,
        image_size: int = 299,
        *,
        factorised_stem: bool = True,
        auxiliary_batch_norm: bool = False,
        dropout: float = 0.2,
    ) -> None:
        if image_size < MIN_IMAGE_SIZE:
            raise ValueError(f"image_size is {image_size}; Inception-v2 needs at least {MIN_IMAGE_SIZE} pixels")
        super().__init__(
            _stem(factorised=factorised_stem),
            STEM_CHANNELS,
            MODULES,
            AUXILIARY_AFTER,
            auxiliary_map_size(image_size, 2, first_pool=True),  # of the same sizes as Inception-v3's
            classes,
            auxiliary_batch_norm=auxiliary_batch_norm,
            dropout=dropout,
        )


def _stem(*, factorised: bool) -> nn.Sequential:
    """Table 1's first seven rows: 299 px -> 147x147x64 -> 35x35x288."""
    first = (
        [
            ConvNormReLU(3, Conv(32, 3, stride=2, padded=False)),
            ConvNormReLU(32, Conv(32, 3, padded=False)),
            ConvNormReLU(32, Conv(64, 3)),
        ]
        if factorised
        else [ConvNormReLU(3, Conv(64, 7, stride=2, padded=False))]
    )
    return nn.Sequential(
        *first,
        nn.MaxPool2d(3, stride=2),
        ConvNormReLU(64, Conv(80, 3, padded=False)),
        ConvNormReLU(80, Conv(192, 3, stride=2, padded=False)),
        ConvNormReLU(192, Conv(STEM_CHANNELS, 3)),
    )


def build(model: InceptionV2Config, classes: int, image_size: int) -> InceptionV2:
    """The network of these settings; `image_size` is at least 75 pixels."""
    return InceptionV2(
        classes,
        image_size,
        factorised_stem=model.factorised_stem,
        auxiliary_batch_norm=model.auxiliary_batch_norm,
        dropout=model.dropout,
    )
