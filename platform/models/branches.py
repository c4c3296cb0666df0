"""Modules of parallel branches, as the Inception papers draw them: what each branch does, as data, and its layers.

In: a row of a network's table. Out: `[N, c_in, H, W]` -> the branches' outputs, concatenated by channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NORM_EPSILON = 1e-3  # of batch norm, as the papers' authors have it


@dataclass(frozen=True)
class Conv:
    """A convolution with batch norm and ReLU behind it.

    Args:
        width: output channels.
        height, breadth: of the kernel, odd.
        stride: each way.
        padded: by zeros, so that without a stride the map keeps its size.
    """

    width: int
    height: int = 1
    breadth: int = 0  # as the height
    stride: int = 1
    padded: bool = True


@dataclass(frozen=True)
class Pool:
    """A 3x3 pooling, padded where it has no stride.

    Args:
        kind: max or average.
        stride: each way.
        whole: of the maximum, with a stride: over the edges of the map too, as a padded convolution beside it is.
    """

    kind: str
    stride: int = 1
    whole: bool = False


@dataclass(frozen=True)
class Split:
    """Convolutions of the same input side by side, as in the expanded filter banks of the last modules."""

    convs: tuple[Conv, ...]


Layer = Conv | Pool | Split
Branch = Sequence[Layer]


class ConvNormReLU(nn.Sequential):
    """Convolution without a bias, batch norm, ReLU. `[N, c_in, H, W]` -> `[N, conv.width, ...]`."""

    def __init__(self, c_in: int, conv: Conv) -> None:
        kernel = (conv.height, conv.breadth or conv.height)
        padding = (kernel[0] // 2, kernel[1] // 2) if conv.padded else 0
        super().__init__(
            nn.Conv2d(c_in, conv.width, kernel, conv.stride, padding, bias=False),
            nn.BatchNorm2d(conv.width, eps=NORM_EPSILON),
            nn.ReLU(inplace=True),
        )


class Branches(nn.Module):
    """Branches side by side. `[N, c_in, H, W]` -> `[N, channels, ...]`.

    Args:
        c_in: input channels.
        branches: the layers of each, in order; their maps must be of one size at the end.
    """

    def __init__(self, c_in: int, branches: Sequence[Branch]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(_sequence(c_in, branch) for branch in branches)
        self.channels = sum(width_of(branch, c_in) for branch in branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], dim=1)


class PaddedOdd(nn.Module):
    """A map of an odd height or breadth, padded by nothing: a pooling with a stride then gives one of the size of a
    padded convolution's, half of it rounded up."""

    def forward(self, x: Tensor) -> Tensor:
        """`[N, C, H, W]` -> `[N, C, H or H + 2, W or W + 2]`."""
        height, breadth = (side % 2 for side in x.shape[2:])
        return F.pad(x, (breadth, breadth, height, height), value=-torch.inf) if height or breadth else x


def width_of(branch: Branch, c_in: int) -> int:
    """The output channels of a branch; poolings keep those that come in."""
    width = c_in
    for layer in branch:
        match layer:
            case Conv():
                width = layer.width
            case Split(convs):
                width = sum(conv.width for conv in convs)
            case Pool():
                pass
    return width


def _sequence(c_in: int, branch: Branch) -> nn.Sequential:
    layers: list[nn.Module] = []
    for place, layer in enumerate(branch):
        width = width_of(branch[:place], c_in)
        match layer:
            case Conv():
                layers.append(ConvNormReLU(width, layer))
            case Split(convs):
                layers.append(Branches(width, [[conv] for conv in convs]))
            case Pool("max", stride, True):
                layers += [PaddedOdd(), nn.MaxPool2d(3, stride, ceil_mode=True)]
            case Pool("max", stride):
                layers.append(nn.MaxPool2d(3, stride, padding=int(stride == 1)))
            case Pool(_, stride):
                layers.append(nn.AvgPool2d(3, stride, padding=int(stride == 1)))
    return nn.Sequential(*layers)
