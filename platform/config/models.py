"""`model`: which network, and its settings. Each network has a dataclass of its own, and a line in `MODELS`.

In: nothing. Out: `ModelConfig`, which every function takes that does not ask which network it is. The network itself
is `build(settings, classes, image_size)` in `platform/models/NAME.py`, imported to make one: settings need no PyTorch.
"""

import difflib
import re
from dataclasses import dataclass, field, fields
from typing import Any

from platform.config import named
from platform.config.checks import require, require_at_least, require_choice


@dataclass
class ModelConfig:
    """What every network has; all that those of torchvision and timm have."""

    name: str  # of MODELS, torchvision/NAME, timm/NAME, or MODULE:FUNCTION of one's own
    auxiliary_weight: float = 0.3  # of each auxiliary head's loss, in networks with such heads
    settings: dict[str, Any] = field(default_factory=dict)  # what torchvision's or timm's class, or one's own, takes
    # Weights to begin with: runs/NAME/members/MEMBER, models:/NAME@ALIAS, FILE.safetensors, FILE.pt, timm:pretrained or
    # torchvision:WEIGHTS. None: all are drawn from the seed
    init: str | None = None
    init_digest: str = ""  # of these weights, which the launcher fills in; where it is given, others are refused
    # Beginnings of the names of parameters that are not trained, such as [stem,stages.3], a number being a whole one;
    # batch norms whose scale and shift are among them keep their statistics. Needs model.init
    freeze: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        kind = model_class(self.name)
        require_at_least("model.auxiliary_weight", self.auxiliary_weight, 0)
        require("" not in self.freeze, "model.freeze has an empty name; give beginnings of parameters' names")
        require(
            not self.freeze or bool(self.init),
            f"model.freeze is {self.freeze}, and model.init is null: what is drawn from the seed would stay as it is; "
            "give model.init, or model.freeze=[]",
        )
        digest = self.init_digest
        require(not digest or bool(self.init), f"model.init_digest is {digest}, and model.init is null; give both")
        require(
            not digest or (len(digest) == 16 and set(digest) <= set("0123456789abcdef")),
            f"model.init_digest is {digest!r}; give the 16 hexadecimal digits that the launcher says, or leave it out",
        )
        own = ", ".join(f"model.{each.name}" for each in fields(kind) if each.name not in SHARED)
        require(
            not self.settings or self.name != family(self.name),
            f"model.settings is of networks of torchvision, of timm and of your own; {self.name} has {own or 'none'}: "
            f"{'give those' if own else 'leave it out'}",
        )

    @property
    def label(self) -> str:
        """For tables: the name, and what is not as usual."""
        return " ".join([self.name, *(f"{key}={value}" for key, value in self.settings.items())])

    @property
    def relative_cost(self) -> float:
        """Work for an image, 1 for the usual settings; balances the lanes of an ensemble whose members differ in it."""
        return 1.0

    def is_known_to_train(self, smallest_part: int) -> bool:
        """Whether it trains on every image size that `data` allows, `smallest_part` images at a time at least.

        What is not known to is rehearsed on PyTorch's meta device before Ray starts (`platform/models/rehearsal.py`),
        which takes some seconds.
        """
        return False


@dataclass
class GoogLeNetConfig(ModelConfig):
    """GoogLeNet (Szegedy et al., CVPR 2015)."""

    name: str = "googlenet"
    width: float = 1.0  # multiplier of every width, 0.1 to 16
    batch_norm: bool = False  # after every convolution
    naive: bool = False  # modules without reductions (Fig. 2a)
    local_response_norm: bool = False  # the two that Fig. 3 draws in the stem, and Table 1 leaves out
    auxiliary: str = "both"  # heads, on 4a and 4d: none, first, second or both
    dropout: float = 0.4  # in front of the main classifier, a share in [0, 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("model.auxiliary", self.auxiliary, AUXILIARY_HEADS)
        require(
            self.auxiliary != "none" or self.auxiliary_weight == ModelConfig.auxiliary_weight,
            f"model.auxiliary_weight is {self.auxiliary_weight}, without effect with model.auxiliary=none; leave one "
            "out",
        )
        require(0.1 <= self.width <= 16, f"model.width is {self.width}; give 0.1 to 16")
        require(0 <= self.dropout < 1, f"model.dropout is {self.dropout}; give a share in [0, 1)")

    @property
    def label(self) -> str:
        return self.name + (f" x{self.width:g}" if self.width != 1 else "") + (" bn" if self.batch_norm else "")

    @property
    def relative_cost(self) -> float:
        """It grows with the square of the width."""
        return self.width**2

    def is_known_to_train(self, smallest_part: int) -> bool:
        """Batch norm needs two images where the last maps are of one pixel."""
        return not (self.batch_norm and smallest_part == 1)


@dataclass
class BNInceptionConfig(ModelConfig):
    """BN-Inception (Ioffe and Szegedy, ICML 2015)."""

    name: str = "bn_inception"
    dropout: float = 0.0  # in front of the classifier, a share in [0, 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.dropout < 1, f"model.dropout is {self.dropout}; give a share in [0, 1)")


@dataclass
class CifarFastConfig(ModelConfig):
    """The small network of airbench94 (Jordan, arXiv 2404.00498), for images of 32 pixels."""

    name: str = "cifar_fast"


@dataclass
class InceptionV3Config(ModelConfig):
    """Inception-v3 (Szegedy et al., CVPR 2016), for images of 299 pixels; with other first layers for smaller ones."""

    name: str = "inception_v3"
    first_stride: int = 2  # of the first convolution; 1 for images of 151 and of 79 pixels
    first_pool: bool = True  # the stem's first max pooling; false for images of 79 pixels
    auxiliary_batch_norm: bool = True  # of the auxiliary head's hidden layer; Inception-v2 has none there
    dropout: float = 0.2  # in front of the main classifier, a share in [0, 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.first_stride in (1, 2), f"model.first_stride is {self.first_stride}; give 1 or 2")
        require(0 <= self.dropout < 1, f"model.dropout is {self.dropout}; give a share in [0, 1)")


@dataclass
class InceptionV2Config(ModelConfig):
    """Inception-v2 (Szegedy et al., CVPR 2016, Table 1), for images of 299 pixels."""

    name: str = "inception_v2"
    factorised_stem: bool = True  # three 3x3 convolutions at the beginning, as Table 1 has; false: one of 7x7
    auxiliary_batch_norm: bool = False  # of the auxiliary head's hidden layer, what Inception-v3 adds
    dropout: float = 0.2  # in front of the main classifier, a share in [0, 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.dropout < 1, f"model.dropout is {self.dropout}; give a share in [0, 1)")


@dataclass
class NINConfig(ModelConfig):
    """Network in Network (Lin, Chen and Yan, ICLR 2014)."""

    name: str = "nin"
    version: str = "cifar"  # the paper's of three blocks; imagenet: the authors' of four
    dropout: float = 0.5  # behind the poolings, a share in [0, 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("model.version", self.version, ("cifar", "imagenet"))
        require(0 <= self.dropout < 1, f"model.dropout is {self.dropout}; give a share in [0, 1)")


@dataclass
class OwnModelConfig(ModelConfig):
    """A network of one's own: `model.name=MODULE:FUNCTION`, a function of the arguments (classes, image_size) and of
    `model.settings` by their names."""

    sources: dict[str, str] = field(default_factory=dict)  # its files and their digests, which the launcher fills in

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            OWN_NAME.fullmatch(self.name) is not None,
            f"model.name is {self.name!r}; write MODULE:FUNCTION, such as {_as_module(self.name)}",
        )


def _as_module(name: str) -> str:
    """What may have been meant: a path is written as a module is imported."""
    file, _, function = name.rpartition(":")
    module = file.removesuffix(".py").strip("./").replace("/", ".")
    meant = f"{module}:{function}"
    return meant if OWN_NAME.fullmatch(meant) else "my_models.small:build"


AUXILIARY_HEADS = {"none": (), "first": ("4a",), "second": ("4d",), "both": ("4a", "4d")}
OWN_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
MODELS: dict[str, type[ModelConfig]] = {
    "googlenet": GoogLeNetConfig,
    "bn_inception": BNInceptionConfig,
    "cifar_fast": CifarFastConfig,
    "inception_v2": InceptionV2Config,
    "inception_v3": InceptionV3Config,
    "nin": NINConfig,
    "torchvision/": ModelConfig,  # and the name of one of its classifiers
    "timm/": ModelConfig,  # and that of one of its networks
    "own:": OwnModelConfig,  # MODULE:FUNCTION
}
SHARED = [each.name for each in fields(ModelConfig)]
NAME = re.compile(r"\w+(\.\w+)?")  # of a network of a library, with timm's tag of its weights
LIBRARIES = "torchvision/{0} or timm/{0}, where the library has it"


def family(name: str) -> str:
    """Key of `MODELS`: `torchvision/` of `torchvision/resnet50`, `own:` of one with a colon, any other name itself."""
    prefix = name[: name.find("/") + 1]
    if ":" in name and prefix not in ("torchvision/", "timm/"):
        return "own:"
    return prefix or name


def model_class(name: str) -> type[ModelConfig]:
    """The dataclass of a network's settings.

    Raises:
        ConfigError: there is no network of that name. Those of torchvision and timm are looked up when one is built.
    """
    own = [each for each in MODELS if not each.endswith(("/", ":"))]
    near = difflib.get_close_matches(name, own, n=2)
    meant = " or ".join(near) or (LIBRARIES.format(name) if NAME.fullmatch(name) else "")
    require(
        family(name) in MODELS,
        f"model.name is {name!r}; give {', '.join(own)}, or torchvision/NAME, timm/NAME, or MODULE:FUNCTION of your own"
        + (f"; did you mean {meant}?" if meant else ""),
    )
    return MODELS[family(name)]


def model_of(settings: dict[str, Any]) -> ModelConfig:
    """The settings of a network out of `dataclasses.asdict` of them, of an earlier version perhaps: what it has no more
    is left out.

    Raises:
        ConfigError: one that cannot work.
    """
    return named.known(model_class(settings["name"]), settings)


def converted(model: ModelConfig, name: str) -> ModelConfig:
    """The settings of the network `name` for those of another, with all that both have.

    Raises:
        ConfigError: it does not have a setting that is not as usual.
    """
    elsewhere = "give model.settings.{}, if it takes that, or " if family(name) != name else ""
    return named.converted(model, model_class(name), name, "model", elsewhere)
