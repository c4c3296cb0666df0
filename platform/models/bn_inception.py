"""BN-Inception (Ioffe and Szegedy, *Batch Normalization*, ICML 2015, Fig. 5), the base of the Inception-v2/v3 paper.

GoogLeNet with batch norm, 5x5 convolutions as two of 3x3, other widths, and strided modules in place of two poolings.
Fig. 5 contradicts itself in 4c and 4d: with the pool projection of 128 that it prints the widths add up to 608, not to
the 576 printed beside them. Ports to Caffe have 608 channels; here the projection is 96, as in TensorFlow's slim.
In: images `[N, 3, H, W]`, H, W >= 32. Out: logits `[N, classes]`; neither paper draws auxiliary heads for it.
"""

from torch import Tensor, nn

from platform.config.models import BNInceptionConfig
from platform.models.branches import Branch, Branches, Conv, ConvNormReLU, Pool
from platform.models.googlenet import initialise

MIN_IMAGE_SIZE = 32


def module(one: int, three: tuple[int, int], double: tuple[int, int], pool: str, projection: int) -> list[Branch]:
    """A row of the table: 1x1, 3x3 behind its reduction, two 3x3 behind theirs, and a pooling with its projection."""
    return [
        [Conv(one)],
        [Conv(three[0]), Conv(three[1], 3)],
        [Conv(double[0]), Conv(double[1], 3), Conv(double[1], 3)],
        [Pool(pool), Conv(projection)],
    ]


def strided(three: tuple[int, int], double: tuple[int, int]) -> list[Branch]:
    """A row that halves the maps: strided convolutions beside a strided max pooling that passes its input on."""
    return [
        [Conv(three[0]), Conv(three[1], 3, stride=2)],
        [Conv(double[0]), Conv(double[1], 3), Conv(double[1], 3, stride=2)],
        [Pool("max", stride=2, whole=True)],
    ]


MODULES: dict[str, list[Branch]] = {
    "3a": module(64, (64, 64), (64, 96), "average", 32),
    "3b": module(64, (64, 96), (64, 96), "average", 64),
    "3c": strided((128, 160), (64, 96)),
    "4a": module(224, (64, 96), (96, 128), "average", 128),
    "4b": module(192, (96, 128), (96, 128), "average", 128),
    "4c": module(160, (128, 160), (128, 160), "average", 96),
    "4d": module(96, (128, 192), (160, 192), "average", 96),
    "4e": strided((128, 192), (192, 256)),
    "5a": module(352, (192, 320), (160, 224), "average", 128),
    "5b": module(352, (192, 320), (192, 224), "max", 128),
}


class BNInception(nn.Module):
    """The network of Fig. 5, with 4c and 4d of 576 channels, and with maps of 28, 14 and 7 pixels at 224.

    Args:
        classes: outputs.
        image_size: height and width in pixels; the network takes any from 32 on.
        dropout: probability before the classifier; batch norm makes one needless, the paper says.

    Raises:
        ValueError: `image_size` is below 32.
    """

    def __init__(self, classes: int = 1000, image_size: int = 224, *, dropout: float = 0.0) -> None:
        super().__init__()
        if image_size < MIN_IMAGE_SIZE:
            raise ValueError(f"image_size is {image_size}; BN-Inception halves its input five times: give at least 32")
        self.stem = nn.Sequential(
            ConvNormReLU(3, Conv(64, 7, stride=2)),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),  # ceil: 112 -> 56
            ConvNormReLU(64, Conv(64)),
            ConvNormReLU(64, Conv(192, 3)),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
        )
        self.stages, channels = nn.ModuleDict(), 192
        for name, branches in MODULES.items():
            stage = Branches(channels, branches)
            self.stages[name], channels = stage, stage.channels
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(channels, classes)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """`[N, 3, H, W]` -> logits `[N, classes]`."""
        x = self.stem(images)
        for stage in self.stages.values():
            x = stage(x)
        return self.classifier(self.dropout(x.mean(dim=(2, 3))))


def build(model: BNInceptionConfig, classes: int, image_size: int) -> BNInception:
    """The network of these settings; `image_size` is at least 32 pixels."""
    return BNInception(classes, image_size, dropout=model.dropout)
