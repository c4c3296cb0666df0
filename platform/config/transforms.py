"""`transforms`: what is done to training images besides cropping them: pairs of them mixed."""

from dataclasses import dataclass

from platform.config.checks import require, require_at_least, require_choice


@dataclass
class TransformsConfig:
    """How training images are changed once they are cropped, on the device."""

    mixup_alpha: float = 0.0  # mixup: the share of an image in the mix of two is drawn from Beta(alpha, alpha); 0: none
    cutmix_alpha: float = 0.0  # CutMix: the same of a box that shows another image; 0: none
    mixing_probability: float = 1.0  # of mixing at all, where an alpha is above 0
    cutmix_share: float = 0.5  # of CutMix among what is mixed, where both alphas are above 0
    mixing_per: str = "batch"  # batch: one draw for a global batch; sample: one for each image

    def __post_init__(self) -> None:
        require_at_least("transforms.mixup_alpha", self.mixup_alpha, 0)
        require_at_least("transforms.cutmix_alpha", self.cutmix_alpha, 0)
        for key in ("mixing_probability", "cutmix_share"):
            share = getattr(self, key)
            require(0 <= share <= 1, f"transforms.{key} is {share}; give a share in [0, 1]")
        require_choice("transforms.mixing_per", self.mixing_per, ("batch", "sample"))

    @property
    def mixes(self) -> bool:
        """Whether images may be mixed."""
        return self.mixing_probability > 0 and (self.mixup_alpha > 0 or self.cutmix_alpha > 0)
