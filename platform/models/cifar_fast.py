"""A convolutional network for images of 32 pixels, quick to train: that of airbench94 (Jordan, arXiv 2404.00498).

In: images `[N, 3, H, W]`, H, W >= 32. Out: logits `[N, classes]`. Where the paper has a fixed whitening of patches of
2x2 pixels, whose filters it takes from the training images, the first convolution is trained here.
"""

from torch import Tensor, nn
from torch.nn import init

from platform.config.models import CifarFastConfig

WIDTHS = (64, 256, 256)  # of the three blocks
FIRST = 24  # of the convolution before them: both signs of twelve filters in the paper
LOGIT_SCALE = 1 / 9  # of the paper, for its learning rate
MIN_IMAGE_SIZE = 32


class CifarFast(nn.Module):
    """Three blocks of two convolutions; each halves the maps, from 31 to 15, 7 and 3 pixels.

    Args:
        classes: outputs.
        image_size: height and width in pixels; it takes any from 32 on.

    Raises:
        ValueError: `image_size` is below 32.
    """

    def __init__(self, classes: int = 10, image_size: int = 32) -> None:
        super().__init__()
        if image_size < MIN_IMAGE_SIZE:
            raise ValueError(f"image_size is {image_size}; give at least {MIN_IMAGE_SIZE}")
        self.first = nn.Sequential(nn.Conv2d(3, FIRST, 2), nn.GELU())
        pairs = zip((FIRST, *WIDTHS), WIDTHS, strict=False)
        self.blocks = nn.Sequential(*(block(c_in, c_out) for c_in, c_out in pairs))
        self.pool = nn.AdaptiveMaxPool2d(1)
        self.classifier = nn.Linear(WIDTHS[-1], classes, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """`[N, 3, H, W]` -> logits `[N, classes]`."""
        x = self.pool(self.blocks(self.first(images))).flatten(1)
        return self.classifier(x) * LOGIT_SCALE


def block(c_in: int, c_out: int) -> nn.Sequential:
    """Convolution, max pooling, batch norm, GELU, and the same again without the pooling."""
    return nn.Sequential(
        convolution(c_in, c_out),
        nn.MaxPool2d(2),
        nn.BatchNorm2d(c_out),
        nn.GELU(),
        convolution(c_out, c_out),
        nn.BatchNorm2d(c_out),
        nn.GELU(),
    )


def convolution(c_in: int, c_out: int) -> nn.Conv2d:
    """3x3 without a bias; the first `c_in` filters pass their own channel on at first, the others are drawn."""
    layer = nn.Conv2d(c_in, c_out, 3, padding=1, bias=False)
    init.dirac_(layer.weight.data[: min(c_in, c_out)])
    return layer


def build(model: CifarFastConfig, classes: int, image_size: int) -> CifarFast:
    """The network of these settings; `image_size` is at least 32 pixels."""
    return CifarFast(classes, image_size)
