"""The table of networks: `python -m docs.write_networks` writes it into docs/networks.md.

In: the choices of conf/model/, and the networks themselves, taken apart on PyTorch's meta device. Out: rows with
their costs, between two comments of the page.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from platform.checkout import ROOT
from platform.config.models import ModelConfig, model_of
from platform.summary.network import network_of
from platform.summary.table import count

PAGE = Path(__file__).with_name("networks.md")
BEGIN, END = "<!-- written by make docs -->\n", "<!-- until here -->\n"
HEADINGS = ("`model=`", "network", "input", "parameters", "multiply-adds", "depth", "paper")
SETTINGS = "settings/"  # a choice's defaults: the group of its network's settings


@dataclass(frozen=True)
class Row:
    """A network as its paper has it."""

    choice: str  # of conf/model/
    image_size: int
    said: str
    paper: str
    classes: int = 1000
    more: dict[str, Any] = field(default_factory=dict)  # settings besides the choice's

    @property
    def model(self) -> ModelConfig:
        """Its settings."""
        content = yaml.safe_load((ROOT / "conf" / "model" / f"{self.choice}.yaml").read_text(encoding="utf-8"))
        group = content.pop("defaults")[0].removeprefix(SETTINGS).partition("@")[0]
        return model_of({"name": group} | content | self.more)

    @property
    def called(self) -> str:
        """As on the command line."""
        return " ".join([f"`{self.choice}`", *(f"`{key}={value}`".lower() for key, value in self.more.items())])


GOING, RETHINKING = "[Going Deeper](https://arxiv.org/abs/1409.4842)", "[Rethinking](https://arxiv.org/abs/1512.00567)"
NORM, NETWORK = (
    "[batch norm](https://arxiv.org/abs/1502.03167)",
    "[Network in Network](https://arxiv.org/abs/1312.4400)",
)
ROWS = (
    Row("googlenet", 224, "Table 1; any image from 32 px on; `model.auxiliary=none`, `first`, `second`, `both`", GOING),
    Row("googlenet_bn", 224, "with batch norm after every convolution", f"{RETHINKING}, Table 3"),
    Row("googlenet_naive", 224, "of modules without reductions", f"{GOING}, Fig. 2a"),
    Row("bn_inception", 224, "any image from 32 px on", NORM),
    Row("inception_v2", 299, "any image from 75 px on", f"{RETHINKING}, Table 1"),
    Row("inception_v3", 299, "as released, equal to torchvision's", RETHINKING),
    Row("inception_v3", 151, "the same with stride 1", f"{RETHINKING}, Table 2", more={"first_stride": 1}),
    Row(
        "inception_v3", 79, "the same without its first pooling", f"{RETHINKING}, Table 2",
        more={"first_stride": 1, "first_pool": False},
    ),
    Row("nin", 32, "of 10 classes", NETWORK, classes=10),
    Row("nin", 224, "as its authors released it", NETWORK, more={"version": "imagenet"}),
    Row("alexnet", 224, "torchvision's: one tower, no local response normalisation",
        "[One weird trick](https://arxiv.org/abs/1404.5997)"),
    Row("vgg16", 224, "torchvision's configuration D", "[VGG](https://arxiv.org/abs/1409.1556)"),
    Row("resnet50", 224, "torchvision's", "[ResNet](https://arxiv.org/abs/1512.03385)"),
    Row("cifar_fast", 32, "of airbench94, of 10 classes", "[airbench](https://arxiv.org/abs/2404.00498)", classes=10),
    Row("vit_small", 224, "timm's", "[ViT](https://arxiv.org/abs/2010.11929), [DeiT](https://arxiv.org/abs/2012.12877)"),
)  # fmt: skip


def table() -> str:
    """All rows, Markdown."""
    lines = [f"| {' | '.join(HEADINGS)} |", "|---|---|---|--:|--:|--:|---|", *map(_line, ROWS)]
    return "\n".join(lines) + "\n"


def _line(row: Row) -> str:
    network = network_of(row.model, row.classes, row.image_size)
    parameters = sum(stage.parameters for stage in network.main) + network.unused
    costs = [f"{row.image_size} px", count(parameters), count(network.multiply_adds), str(network.depth)]
    return f"| {' | '.join([row.called, row.said, *costs, row.paper])} |"


def page(text: str) -> str:
    """The page with the table as the networks are now.

    Args:
        text: the page as it is.
    """
    before, _, rest = text.partition(BEGIN)
    _, found, after = rest.partition(END)
    assert found, f"docs/networks.md has no {BEGIN!r} ... {END!r}"
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
