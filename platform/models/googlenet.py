"""GoogLeNet (Szegedy et al., *Going Deeper with Convolutions*, CVPR 2015, Table 1).

In: images `[N, 3, H, W]`, H, W >= 32. Out: logits `[N, classes]`, and in training those of the two auxiliary heads.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from platform.config.models import AUXILIARY_HEADS, GoogLeNetConfig
from platform.models.dropout import by_sample
from platform.models.grid_pool import GridPool


@dataclass(frozen=True)
class InceptionWidths:
    """One row of Table 1: output channels of each convolution of an Inception module."""

    conv1: int
    reduce3: int
    conv3: int
    reduce5: int
    conv5: int
    pool: int

    @property
    def total(self) -> int:
        """Output channels of the module."""
        return self.conv1 + self.conv3 + self.conv5 + self.pool

    def scaled(self, width: float) -> "InceptionWidths":
        """Every width times `width`, see `scaled_width`."""
        scale = lambda channels: scaled_width(channels, width)  # noqa: E731
        return InceptionWidths(
            scale(self.conv1),
            scale(self.reduce3),
            scale(self.conv3),
            scale(self.reduce5),
            scale(self.conv5),
            scale(self.pool),
        )


# Table 1, in order; "M" is the 3x3 max pooling with stride 2 between the stages.
TABLE_1: dict[str, InceptionWidths] = {
    "3a": InceptionWidths(64, 96, 128, 16, 32, 32),
    "3b": InceptionWidths(128, 128, 192, 32, 96, 64),
    "4a": InceptionWidths(192, 96, 208, 16, 48, 64),
    "4b": InceptionWidths(160, 112, 224, 24, 64, 64),
    "4c": InceptionWidths(128, 128, 256, 24, 64, 64),
    "4d": InceptionWidths(112, 144, 288, 32, 64, 64),
    "4e": InceptionWidths(256, 160, 320, 32, 128, 128),
    "5a": InceptionWidths(256, 160, 320, 32, 128, 128),
    "5b": InceptionWidths(384, 192, 384, 48, 128, 128),
}
POOL_BEFORE = ("4a", "5a")
MIN_IMAGE_SIZE = 32


def scaled_width(channels: int, width: float) -> int:
    """`channels * width`, to the nearest multiple of 8 (every width of Table 1 is one), at least 8."""
    return max(8, round(channels * width / 8) * 8)


class ConvReLU(nn.Sequential):
    """Convolution and ReLU, with batch norm between them on request. `[N, c_in, H, W]` -> `[N, c_out, ...]`."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1, *, batch_norm: bool = False) -> None:
        conv = nn.Conv2d(c_in, c_out, kernel, stride, padding=kernel // 2, bias=not batch_norm)
        norm = [nn.BatchNorm2d(c_out, eps=1e-3)] if batch_norm else []
        super().__init__(conv, *norm, nn.ReLU(inplace=True))


class Inception(nn.Module):
    """Inception module with dimension reductions (Fig. 2b). `[N, c_in, H, W]` -> `[N, widths.total, H, W]`."""

    def __init__(self, c_in: int, widths: InceptionWidths, *, batch_norm: bool = False) -> None:
        super().__init__()
        bn = batch_norm
        self.branch1 = ConvReLU(c_in, widths.conv1, 1, batch_norm=bn)
        self.branch3 = nn.Sequential(
            ConvReLU(c_in, widths.reduce3, 1, batch_norm=bn), ConvReLU(widths.reduce3, widths.conv3, 3, batch_norm=bn)
        )
        self.branch5 = nn.Sequential(
            ConvReLU(c_in, widths.reduce5, 1, batch_norm=bn), ConvReLU(widths.reduce5, widths.conv5, 5, batch_norm=bn)
        )
        self.branch_pool = nn.Sequential(
            nn.MaxPool2d(3, stride=1, padding=1), ConvReLU(c_in, widths.pool, 1, batch_norm=bn)
        )
        self.channels = widths.total

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.branch1(x), self.branch3(x), self.branch5(x), self.branch_pool(x)], dim=1)


class NaiveInception(nn.Module):
    """The module without reductions (Fig. 2a): its pooling branch passes all input channels on; depth adds up."""

    def __init__(self, c_in: int, widths: InceptionWidths, *, batch_norm: bool = False) -> None:
        super().__init__()
        self.branch1 = ConvReLU(c_in, widths.conv1, 1, batch_norm=batch_norm)
        self.branch3 = ConvReLU(c_in, widths.conv3, 3, batch_norm=batch_norm)
        self.branch5 = ConvReLU(c_in, widths.conv5, 5, batch_norm=batch_norm)
        self.branch_pool = nn.MaxPool2d(3, stride=1, padding=1)
        self.channels = widths.conv1 + widths.conv3 + widths.conv5 + c_in

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.branch1(x), self.branch3(x), self.branch5(x), self.branch_pool(x)], dim=1)


class AuxiliaryHead(nn.Module):
    """Classifier on the output of 4a or 4d: average pool 5x5/3, 1x1 convolution, two linear layers, dropout 70%.

    `[N, c_in, H, W]` -> logits `[N, classes]`. The pooled grid (4x4 at 224 px) fixes the first linear layer's size, so
    the head is built for one image size; maps smaller than 5x5 (images under 80 px) are averaged whole (`GridPool`).
    """

    def __init__(self, c_in: int, map_size: int, classes: int, *, width: float, batch_norm: bool) -> None:
        super().__init__()
        channels, hidden = scaled_width(128, width), scaled_width(1024, width)
        self.pool = GridPool(map_size)
        grid = self.pool.grid
        self.conv = ConvReLU(c_in, channels, 1, batch_norm=batch_norm)
        self.hidden = nn.Sequential(nn.Flatten(), nn.Linear(channels * grid * grid, hidden), nn.ReLU(inplace=True))
        self.dropout = nn.Dropout(0.7)
        self.classifier = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.dropout(self.hidden(self.conv(self.pool(x)))))


class GoogLeNet(nn.Module):
    """The network of Table 1.

    Args:
        classes: outputs of every classifier.
        image_size: height and width in pixels the auxiliary heads are built for (>= 32); the trunk takes any.
        width: multiplier of every width, for the wider seventh member of the ensemble.
        batch_norm: normalise between convolution and ReLU (the BN-GoogLeNet of the Inception-v2/v3 paper).
        naive: build from the modules of Fig. 2a instead.
        local_response_norm: the two normalisations that Fig. 3 draws in the stem and Table 1 leaves out.
        auxiliary: heads: none, first (on 4a), second (on 4d) or both; weights of the rest do not depend on it.
        dropout: probability before the main classifier (paper: 0.4).

    Raises:
        ValueError: `image_size` is below 32.
    """

    def __init__(
        self,
        classes: int = 1000,
        image_size: int = 224,
        *,
        width: float = 1.0,
        batch_norm: bool = False,
        naive: bool = False,
        local_response_norm: bool = False,
        auxiliary: str = "both",
        dropout: float = 0.4,
    ) -> None:
        super().__init__()
        if image_size < MIN_IMAGE_SIZE:
            raise ValueError(f"image_size is {image_size}; GoogLeNet halves its input five times: give at least 32")
        conv1, reduce2, conv2 = (scaled_width(channels, width) for channels in (64, 64, 192))
        norm = [nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75)] if local_response_norm else []
        self.stem = nn.Sequential(
            ConvReLU(3, conv1, 7, stride=2, batch_norm=batch_norm),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),  # ceil: 112 -> 56, as the table has it
            *norm,
            ConvReLU(conv1, reduce2, 1, batch_norm=batch_norm),
            ConvReLU(reduce2, conv2, 3, batch_norm=batch_norm),
            *norm,
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
        )
        module = NaiveInception if naive else Inception
        channels, map_size = conv2, (image_size + 1) // 2 // 2 // 2  # the convolution rounds up, its pools down
        self.stages = nn.ModuleDict()
        self.auxiliary = nn.ModuleDict()
        for name, row in TABLE_1.items():
            if name in POOL_BEFORE:
                map_size //= 2
            block = module(channels, row.scaled(width), batch_norm=batch_norm)
            channels = block.channels
            self.stages[name] = block
            if name in ("4a", "4d"):
                self.auxiliary[name] = AuxiliaryHead(channels, map_size, classes, width=width, batch_norm=batch_norm)
        self.pool = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(channels, classes)
        initialise(self)
        by_sample(self)
        for name in AUXILIARY_HEADS["both"]:
            if name not in AUXILIARY_HEADS[auxiliary]:  # only now: all else has the same weights and dropout masks
                del self.auxiliary[name]

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        """`[N, 3, H, W]` -> logits `[N, classes]`; in training a tuple of them and the auxiliary heads' logits."""
        x = self.stem(images)
        auxiliary_logits = []
        for name, block in self.stages.items():
            x = block(self.pool(x) if name in POOL_BEFORE else x)
            if self.training and name in self.auxiliary:
                auxiliary_logits.append(self.auxiliary[name](x))
        logits = self.classifier(self.dropout(x.mean(dim=(2, 3))))
        return (logits, *auxiliary_logits) if self.training else logits


def build(model: GoogLeNetConfig, classes: int, image_size: int) -> GoogLeNet:
    """The network of these settings; `image_size` is at least 32 pixels."""
    return GoogLeNet(
        classes,
        image_size,
        width=model.width,
        batch_norm=model.batch_norm,
        naive=model.naive,
        local_response_norm=model.local_response_norm,
        auxiliary=model.auxiliary,
        dropout=model.dropout,
    )


def initialise(module: nn.Module) -> None:
    """He's normal initialisation (arXiv 1502.01852), with small classifiers, so that 22 layers learn from scratch.

    PyTorch's default draws convolutions with variance 1/(3 fan_in); a layer with ReLU then divides the signal's power
    by six, a path of 20 layers by 6^20: logits are constant, gradients vanish, and the loss stays at log(classes). The
    variance 2/fan_in keeps the power. Classifiers start near zero, so that the first loss is log(classes) and not that
    of random confident predictions.
    """
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            if name.endswith("classifier"):  # by name: a hidden layer may be as wide as there are classes
                nn.init.normal_(layer.weight, std=0.001)
            else:
                nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
