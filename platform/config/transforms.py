"""`transforms`: what is done to training images besides cropping: operations, erased boxes, pairs of them mixed."""

from dataclasses import dataclass, field

from platform.config.checks import require, require_at_least, require_choice, require_range

POLICIES = ("none", "trivial", "rand")
MOST_OPS = 4  # for which there are draws


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

    @property
    def mixes(self) -> bool:
        """Whether images may be mixed."""
        return self.mixing_probability > 0 and (self.mixup_alpha > 0 or self.cutmix_alpha > 0)


UNTRANSFORMED = TransformsConfig()
