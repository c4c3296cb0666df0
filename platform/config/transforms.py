"""`transforms`: what is done to training images besides cropping: operations, erased boxes, pairs of them mixed."""

from collections.abc import Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any

from platform.config.checks import require, require_at_least, require_choice, require_range

POLICIES = ("none", "trivial", "rand")
MOST_OPS = 4  # for which there are draws
OF_RAND = ("rand_ops", "rand_magnitude", "rand_std", "rand_probability")
OF_ERASING = ("erase_area", "erase_aspect", "erase_value")
OF_MIXING = ("mixing_probability", "mixing_per")


@dataclass
class TransformsConfig:
    """How training images are changed once they are cropped, on the device."""

    name: str = "none"  # trivial: one operation of any strength (TrivialAugment Wide); rand: some of one (RandAugment)
    rand_ops: int = 2  # rand: operations one after the other, 1 to 4
    rand_magnitude: float = 3.0  # rand: 0 to 10, which is the strongest; torchvision's 9 of 30 is 3
    rand_std: float = 0.0  # rand: standard deviation of the magnitude, drawn for each operation
    rand_probability: float = 1.0  # rand: of each operation; timm has 0.5
    erase_probability: float = 0.0  # random erasing: a box of an image shows nothing
    erase_area: list[float] = field(default_factory=lambda: [0.02, 0.33])  # of the box, a share of the image, uniform
    erase_aspect: list[float] = field(default_factory=lambda: [0.3, 3.3])  # its height / width, log-uniform
    erase_value: float = 0.0  # what it shows, after normalising; 0: the mean colour
    mixup_alpha: float = 0.0  # mixup: the share of an image in the mix of two is drawn from Beta(alpha, alpha); 0: none
    cutmix_alpha: float = 0.0  # CutMix: the same of a box that shows another image; 0: none
    mixing_probability: float = 1.0  # of mixing at all, where an alpha is above 0
    cutmix_share: float = 0.5  # of CutMix among what is mixed, where both alphas are above 0
    mixing_per: str = "batch"  # batch: one draw for a global batch; sample: one for each image

    def __post_init__(self) -> None:
        require_choice("transforms.name", self.name, POLICIES)
        ops, magnitude = self.rand_ops, self.rand_magnitude
        require(1 <= ops <= MOST_OPS, f"transforms.rand_ops is {ops}; give 1 to {MOST_OPS}")
        require(0 <= magnitude <= 10, f"transforms.rand_magnitude is {magnitude}; give 0 to 10")
        require_range("transforms.erase_area", self.erase_area, 0.001, 1.0)
        require_range("transforms.erase_aspect", self.erase_aspect, 0.01, 100.0)
        for key in ("rand_std", "mixup_alpha", "cutmix_alpha"):
            require_at_least(f"transforms.{key}", getattr(self, key), 0)
        for key in ("rand_probability", "erase_probability", "mixing_probability", "cutmix_share"):
            share = getattr(self, key)
            require(0 <= share <= 1, f"transforms.{key} is {share}; give a share in [0, 1]")
        require_choice("transforms.mixing_per", self.mixing_per, ("batch", "sample"))
        self._check_effect()

    def _check_effect(self) -> None:
        """What is not used would make another experiment of the same training."""
        alphas = [self.mixup_alpha, self.cutmix_alpha]
        self._require_usual(OF_RAND, "transforms.name=rand", used=self.name == "rand")
        self._require_usual(OF_ERASING, "transforms.erase_probability above 0", used=self.erase_probability > 0)
        above_0 = "transforms.mixup_alpha {} transforms.cutmix_alpha above 0"
        self._require_usual(OF_MIXING, above_0.format("or"), used=any(alphas))
        self._require_usual(("cutmix_share",), above_0.format("and"), used=all(alphas))
        require(
            self.mixing_probability > 0 or not any(alphas),
            "transforms.mixing_probability is 0: nothing is mixed; leave out mixup_alpha and cutmix_alpha instead",
        )

    def _require_usual(self, keys: Sequence[str], needed: str, *, used: bool) -> None:
        """Settings without effect are as usual."""
        for each in fields(self):
            value = getattr(self, each.name)
            require(
                used or each.name not in keys or value == _usual(each),
                f"transforms.{each.name} is {value}, without effect: it needs {needed}; give that, or leave it out",
            )

    @property
    def mixes(self) -> bool:
        """Whether images may be mixed."""
        return self.mixing_probability > 0 and (self.mixup_alpha > 0 or self.cutmix_alpha > 0)


def _usual(setting: "Field[Any]") -> Any:
    return setting.default if setting.default_factory is MISSING else setting.default_factory()


UNTRANSFORMED = TransformsConfig()
