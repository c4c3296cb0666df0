"""What Inception-v2 and -v3 share (Szegedy et al., *Rethinking the Inception Architecture for Computer Vision*, CVPR
2016): the modules of Figs. 5 to 7, the reductions of Fig. 10, the auxiliary head, and the way through all of them.

In: images `[N, 3, H, W]`. Out: logits `[N, classes]`, and in training those of the auxiliary head.
"""

from torch import Tensor, nn

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


class Inception(nn.Module):
    """A stem, modules in a row with one auxiliary head among them, and a classifier.

    Args:
        stem: `[N, 3, H, W]` -> `[N, channels, h, w]`.
        channels: that the stem gives.
        modules: by name, in order.
        auxiliary_after: name of the module that the auxiliary head reads.
        map_size: of that module's maps, in pixels each way.
        classes: outputs of both classifiers.
        auxiliary_batch_norm: see `AuxiliaryHead`.
        dropout: probability before the classifier.
    """

    def __init__(
        self,
        stem: nn.Sequential,
        channels: int,
        modules: dict[str, list[Branch]],
        auxiliary_after: str,
        map_size: int,
        classes: int,
        *,
        auxiliary_batch_norm: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        self.stem, self.stages, self.auxiliary = stem, nn.ModuleDict(), nn.ModuleDict()
        for name, branches in modules.items():
            module = Branches(channels, branches)
            self.stages[name], channels = module, module.channels
            if name == auxiliary_after:
                self.auxiliary[name] = AuxiliaryHead(channels, map_size, classes, batch_norm=auxiliary_batch_norm)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(channels, classes)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """`[N, 3, H, W]` -> logits `[N, classes]`; in training a tuple of them and the auxiliary head's."""
        x, auxiliary_logits = self.stem(images), None
        for name, module in self.stages.items():
            x = module(x)
            if self.training and name in self.auxiliary:
                auxiliary_logits = self.auxiliary[name](x)
        logits = self.classifier(self.dropout(x.mean(dim=(2, 3))))
        return logits if auxiliary_logits is None else (logits, auxiliary_logits)
