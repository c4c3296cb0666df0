"""Top-1, top-5 and cross-entropy of probabilities, as sums, so that parts of a data set add up exactly."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class Scores:
    """Sums over samples. Corrupt samples are counted apart and in no average."""

    samples: int = 0
    top1: int = 0
    top5: int = 0
    loss: float = 0.0
    corrupt: int = 0

    @classmethod
    def of(cls, probs_NK: "Tensor", labels_N: "Tensor", valid_N: "Tensor") -> "Scores":
        """Score probabilities; they need not add up to one (the largest over views do not) and are scaled to.

        Args:
            probs_NK: of N samples and K classes, on the CPU.
            labels_N: int64.
            valid_N: bool; false for corrupt samples, which are only counted.
        """
        probs_NK, labels_N = probs_NK[valid_N], labels_N[valid_N]
        rank_N = rank_of_label(probs_NK, labels_N)
        share_N = probs_NK.gather(1, labels_N[:, None])[:, 0] / probs_NK.sum(1)
        return cls(
            samples=len(labels_N),
            top1=int((rank_N < 1).sum()),
            top5=int((rank_N < 5).sum()),
            loss=float(-share_N.clamp_min(1e-30).log().double().sum()),
            corrupt=int((~valid_N).sum()),
        )

    def __add__(self, other: "Scores") -> "Scores":
        return Scores(*(a + b for a, b in zip(self.as_list(), other.as_list(), strict=True)))  # type: ignore[arg-type]

    def as_list(self) -> list[float]:
        """The sums in the order of the fields, as `Scores(*list)` takes them."""
        return [self.samples, self.top1, self.top5, self.loss, self.corrupt]

    def rates(self) -> dict[str, float]:
        """Top-1 and top-5 accuracy and mean loss; of no samples they are not numbers."""
        n = self.samples or math.nan
        return {"top1": self.top1 / n, "top5": self.top5 / n, "loss": self.loss / n}


def rank_of_label(probs_NK: "Tensor", labels_N: "Tensor") -> "Tensor":
    """The number of classes that stand above the label, int64 `[N]`: 0 where the prediction is right.

    Of equal classes the one with the larger number is below. What is not a number is below nothing, so a broken network
    scores nothing.
    """
    import torch  # takes a second, which sums that were kept need not

    own_N1 = probs_NK.gather(1, labels_N[:, None])
    classes = torch.arange(probs_NK.shape[1])
    below_NK = (probs_NK < own_N1) | ((probs_NK == own_N1) & (classes >= labels_N[:, None]))  # itself included
    return (~below_NK).sum(1)
