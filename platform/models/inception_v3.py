"""Inception-v3 (Szegedy et al., *Rethinking the Inception Architecture for Computer Vision*, CVPR 2016).

As its authors released it, which is more than the paper's Table 1 tells; torchvision's `inception_v3` is the same
network. In: images `[N, 3, H, W]`. Out: logits `[N, classes]`, and in training those of the auxiliary head.
"""

from torch import Tensor, nn

from platform.config.models import InceptionV3Config
from platform.models.branches import Branch, Branches, Conv, ConvNormReLU, Pool, Split
from platform.models.googlenet import initialise
from platform.models.grid_pool import GridPool


def factorised_5x5(pool: int) -> list[Branch]:
    """The module of Fig. 5, on maps of 35x35: a 5x5 convolution as two of 3x3, which one branch of one still has."""
    return [
        [Conv(64)],
        [Conv(48), Conv(64, 5)],
        [Conv(64), Conv(96, 3), Conv(96, 3)],
        [Pool("average"), Conv(pool)],
    ]


def factorised_7x7(width: int) -> list[Branch]:
    """The module of Fig. 6 with n = 7, on maps of 17x17: convolutions of 7x7 as 1x7 and 7x1."""
    w = width
    return [
        [Conv(192)],
        [Conv(w), Conv(w, 1, 7), Conv(192, 7, 1)],
        [Conv(w), Conv(w, 7, 1), Conv(w, 1, 7), Conv(w, 7, 1), Conv(192, 1, 7)],
        [Pool("average"), Conv(192)],
    ]


def expanded() -> list[Branch]:
    """The module of Fig. 7, on maps of 8x8: filter banks that are wider, not deeper."""
    side_by_side = Split((Conv(384, 1, 3), Conv(384, 3, 1)))
    return [
        [Conv(320)],
        [Conv(384), side_by_side],
        [Conv(448), Conv(384, 3), side_by_side],
        [Pool("average"), Conv(192)],
    ]


# Fig. 10: strided convolutions beside a strided pooling, so that no representation is squeezed.
REDUCTION_TO_17: list[Branch] = [
    [Conv(384, 3, stride=2, padded=False)],
    [Conv(64), Conv(96, 3), Conv(96, 3, stride=2, padded=False)],
    [Pool("max", stride=2)],
]
REDUCTION_TO_8: list[Branch] = [
    [Conv(192), Conv(320, 3, stride=2, padded=False)],
    [Conv(192), Conv(192, 1, 7), Conv(192, 7, 1), Conv(192, 3, stride=2, padded=False)],
    [Pool("max", stride=2)],
]
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


class AuxiliaryHead(nn.Module):
    """The one classifier beside the last: average pool 5x5/3, 1x1 convolution, one over the whole map (5x5 at 299 px),
    and a linear layer. `[N, c_in, H, W]` -> logits `[N, classes]`.

    Args:
        c_in: input channels.
        map_size: of the input, in pixels each way; at least 1.
        classes: outputs.
        batch_norm: also behind the second convolution, which is fully connected: what makes Inception-v3 of v2.
    """

    def __init__(self, c_in: int, map_size: int, classes: int, *, batch_norm: bool) -> None:
        super().__init__()
        self.pool = GridPool(map_size)
        kernel = min(5, self.pool.grid)
        self.reduce = ConvNormReLU(c_in, Conv(128))
        self.hidden = (
            ConvNormReLU(128, Conv(768, kernel, padded=False))
            if batch_norm
            else nn.Sequential(nn.Conv2d(128, 768, kernel), nn.ReLU(inplace=True))
        )
        self.classifier = nn.Linear(768, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.hidden(self.reduce(self.pool(x))).mean(dim=(2, 3)))


class InceptionV3(nn.Module):
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
        super().__init__()
        self.stem = _stem(first_stride, first_pool=first_pool)
        map_size = auxiliary_map_size(image_size, first_stride, first_pool=first_pool)
        self.stages, self.auxiliary, channels = nn.ModuleDict(), nn.ModuleDict(), STEM_CHANNELS
        for name, branches in MODULES.items():
            module = Branches(channels, branches)
            self.stages[name], channels = module, module.channels
            if name == AUXILIARY_AFTER:
                self.auxiliary[name] = AuxiliaryHead(channels, map_size, classes, batch_norm=auxiliary_batch_norm)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(channels, classes)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """`[N, 3, H, W]` -> logits `[N, classes]`; in training a tuple of them and the auxiliary head's."""
        x, auxiliary_logits = self.stem(images), None
        for name, module in self.stages.items():
            x = module(x)
            if self.training and name == AUXILIARY_AFTER:
                auxiliary_logits = self.auxiliary[name](x)
        logits = self.classifier(self.dropout(x.mean(dim=(2, 3))))
        return logits if auxiliary_logits is None else (logits, auxiliary_logits)


STEM_CHANNELS = 192


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
