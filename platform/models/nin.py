"""Network in Network (Lin, Chen and Yan, ICLR 2014): convolutions followed by two of 1x1, and no linear layer at all.

Two versions: the paper's for images of 32 pixels, and the authors' for ImageNet of Caffe's model zoo.
In: images `[N, 3, H, W]`. Out: logits `[N, classes]`, the mean of each class's map.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from platform.config.models import NINConfig
from platform.models.googlenet import initialise


@dataclass(frozen=True)
class Block:
    """An "mlpconv": a convolution and two of 1x1, each with ReLU; then a pooling of 3x3 with stride 2, and dropout.

    Args:
        widths: output channels of the three; 0: as many as there are classes.
        kernel, stride, padding: of the first.
        pool: max, average, or "" for none.
        dropout: whether there is one behind the pooling.
    """

    widths: tuple[int, int, int]
    kernel: int
    stride: int = 1
    padding: int = 0
    pool: str = ""
    dropout: bool = False


VERSIONS: dict[str, list[Block]] = {
    "cifar": [
        Block((192, 160, 96), 5, padding=2, pool="max", dropout=True),
        Block((192, 192, 192), 5, padding=2, pool="average", dropout=True),
        Block((192, 192, 0), 3, padding=1),
    ],
    "imagenet": [
        Block((96, 96, 96), 11, stride=4, pool="max"),
        Block((256, 256, 256), 5, padding=2, pool="max"),
        Block((384, 384, 384), 3, padding=1, pool="max", dropout=True),
        Block((1024, 1024, 0), 3, padding=1),
    ],
}


class NIN(nn.Module):
    """Blocks, of which the last one's last convolution has a map for each class.

    The authors' has a ReLU behind that as well, which keeps logits from being negative; it is left out.

    Args:
        classes: outputs.
        version: of VERSIONS.
        dropout: probability behind the poolings that have it (paper: 0.5).
    """

    def __init__(self, classes: int, version: str = "cifar", *, dropout: float = 0.5) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for block in VERSIONS[version]:
            for place, width in enumerate(block.widths):
                if not width:
                    continue  # the classifier
                shape = (block.kernel, block.stride, block.padding) if place == 0 else (1, 1, 0)
                layers += [nn.Conv2d(channels, width, *shape), nn.ReLU(inplace=True)]
                channels = width
            if block.pool:
                pool = nn.MaxPool2d if block.pool == "max" else nn.AvgPool2d
                layers.append(pool(3, stride=2, ceil_mode=True))  # as Caffe rounds: 32 -> 16 -> 8
            if block.dropout:
                layers.append(nn.Dropout(dropout))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Conv2d(channels, classes, 1)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """`[N, 3, H, W]` -> logits `[N, classes]`."""
        return self.classifier(self.features(images)).mean(dim=(2, 3))


def build(model: NINConfig, classes: int, image_size: int) -> NIN:
    """The network of these settings, for images of any size that leaves a map."""
    return NIN(classes, model.version, dropout=model.dropout)
