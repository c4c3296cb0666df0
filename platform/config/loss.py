"""`loss`: what a network is trained to say of a sample, and how far off it is."""

import math
from dataclasses import dataclass, field

from platform.config.checks import require, require_at_least, require_choice

LOSSES = ("cross_entropy", "bce")
UNIFORM, PRIOR, GIVEN = DISTRIBUTIONS = ("uniform", "prior", "given")


@dataclass
class LossConfig:
    """The loss of every classifier of a network. `val/loss` is plain cross-entropy whatever it is."""

    name: str = "cross_entropy"  # of the softmax; bce: binary cross-entropy, each class against all others
    smoothing: float = 0.0  # eps: targets become (1 - eps) q(k) + eps u(k); the second paper has 0.1
    # u(k): uniform is 1 / classes; prior: each class's share of the training images, however often `data.balance` shows
    # them; given: as `distribution` says
    smoothing_over: str = UNIFORM
    distribution: list[float] = field(default_factory=list)  # given: u(k) of each class, summing to 1
    over_classes: str = "mean"  # bce: mean of the classes' losses, or their sum
    present_above: float | None = None  # bce: a class of a larger share of a mixed image has the target 1

    def __post_init__(self) -> None:
        require_choice("loss.name", self.name, LOSSES)
        require(0 <= self.smoothing < 1, f"loss.smoothing is {self.smoothing}; give a share in [0, 1)")
        require_choice("loss.smoothing_over", self.smoothing_over, DISTRIBUTIONS)
        require_choice("loss.over_classes", self.over_classes, ("mean", "sum"))
        self._check_distribution()
        self._check_effect()

    def _check_distribution(self) -> None:
        is_given = self.smoothing_over == GIVEN
        require(
            is_given == bool(self.distribution),
            f"loss.smoothing_over is {self.smoothing_over} and loss.distribution has {len(self.distribution)} numbers; "
            "give smoothing_over=given with one number a class, or neither",
        )
        for each in self.distribution:
            require_at_least("loss.distribution", each, 0)
        require(
            not is_given or math.isclose(sum(self.distribution), 1, abs_tol=1e-4),
            f"loss.distribution sums to {sum(self.distribution):g}; give shares that sum to 1",
        )

    def _check_effect(self) -> None:
        require(
            self.smoothing > 0 or self.smoothing_over == UNIFORM,
            f"loss.smoothing_over={self.smoothing_over} has no effect with loss.smoothing=0; give both or neither",
        )
        require(
            self.name == "bce" or (self.over_classes == "mean" and self.present_above is None),
            "loss.over_classes and loss.present_above are of loss.name=bce; give that, or leave them out",
        )
        above = self.present_above
        require(
            above is None or 0 <= above < 0.5,
            f"loss.present_above is {above}; give a share in [0, 0.5), or null",
        )

    def require_classes(self, classes: int) -> None:
        """`distribution` is of the data set's classes.

        Raises:
            ConfigError: it has another number of them.
        """
        require(
            not self.distribution or len(self.distribution) == classes,
            f"loss.distribution has {len(self.distribution)} numbers; data.classes is {classes}",
        )
