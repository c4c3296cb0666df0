"""What is stored of a sample's probabilities (`evaluation.keep`): those of every view, their means over views, or the
largest of these means.

In: probabilities of all views, a batch at a time, as they are computed. Out: planes of values, and from these again
probabilities of all classes. The means are exact. Of the largest the label's own value and the sum are kept beside
them, and what is left of the sum is spread evenly over the other classes.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import DTypeLike

from platform.config.evaluation import ALL, MEANS, TOP, EvaluationConfig

if TYPE_CHECKING:
    from torch import Tensor

VALUES_BESIDE = 2  # the label's, and the sum over all classes


@dataclass(frozen=True)
class Stored:
    """What is stored of every sample."""

    keep: str = ALL
    view_counts: tuple[int, ...] = ()  # over which means are stored, rising from 1; of ALL: none, every view is there
    top: int = 0  # largest classes of each mean; 0: all classes

    @classmethod
    def of(cls, evaluation: EvaluationConfig, classes: int) -> Self:
        """As `evaluation` asks for it. Where all classes are among the largest, these are the means."""
        if evaluation.keep == ALL:
            return cls()
        counts = tuple(sorted({1, *evaluation.views}))
        if evaluation.keep == TOP and evaluation.keep_top < classes:
            return cls(TOP, counts, evaluation.keep_top)
        return cls(MEANS, counts)

    @classmethod
    def of_seal(cls, content: dict[str, Any]) -> Self:
        """The inverse of `for_seal`, of a set of an earlier version, too."""
        counts = tuple(int(views) for views in content.get("view_counts", ()))
        return cls(str(content.get("keep", ALL)), counts, int(content.get("top", 0)))

    def for_seal(self) -> dict[str, Any]:
        """What the seal says of it; nothing of ALL."""
        return {} if self.keep == ALL else {"keep": self.keep, "view_counts": [*self.view_counts], "top": self.top}

    def planes(self, views: int) -> int:
        """How many times there are values of the classes: one for each view, or for each mean and for the largest over
        all views."""
        if self.keep == ALL:
            return views
        return len(self.view_counts) + (max(self.view_counts) > 1)

    def values(self, classes: int) -> int:
        """How many values a plane has."""
        return self.top + VALUES_BESIDE if self.top else classes

    def lacking(self, view_counts: list[int], views: int) -> list[int]:
        """Those of the numbers of views of which there is no mean, where `views` were evaluated."""
        if self.keep == ALL:
            return [count for count in view_counts if count > views]
        return [count for count in view_counts if count not in self.view_counts]

    def bytes_of(self, samples: int, views: int, classes: int, dtype: DTypeLike) -> int:
        """What a member's probabilities take on disk, without a few bytes a sample for labels."""
        number = self.top * class_dtype(classes).itemsize
        return samples * self.planes(views) * (self.values(classes) * np.dtype(dtype).itemsize + number)

    def reduced(self, probs_NVK: "Tensor") -> "Tensor":
        """`[N, planes, K]`: the views themselves, or their means and the largest over them."""
        if self.keep == ALL:
            return probs_NVK
        import torch  # takes a second, which plans need not

        planes = [probs_NVK[:, :count].mean(1) for count in self.view_counts]
        most = max(self.view_counts)
        return torch.stack(planes + ([probs_NVK[:, :most].amax(1)] if most > 1 else []), 1)

    def largest_of(self, probs_NPK: "Tensor", labels_N: "Tensor") -> "tuple[Tensor, Tensor]":
        """(`[N, P, top + 2]`: the largest, falling, then the label's and the sum; `[N, P, top]`: their classes)."""
        import torch

        values_NPT, classes_NPT = probs_NPK.topk(self.top, dim=2)
        own_NP1 = probs_NPK.gather(2, _each_plane(labels_N, probs_NPK.shape[1]))
        return torch.cat([values_NPT, own_NP1, probs_NPK.sum(2, keepdim=True)], 2), classes_NPT

    def spread(self, values_NPT: "Tensor", classes_NPT: "Tensor", labels_N: "Tensor", classes: int) -> "Tensor":
        """`[N, P, K]` of what `largest_of` made. None of the other classes is above the smallest of the largest."""
        import torch

        largest_NPT, own_NP, sum_NP = values_NPT[..., : self.top], values_NPT[..., -2], values_NPT[..., -1]
        labels_NP1 = _each_plane(labels_N, values_NPT.shape[1])
        known_NP = (classes_NPT == labels_NP1).any(2)
        rest_NP = (sum_NP - largest_NPT.sum(2) - own_NP.masked_fill(known_NP, 0)).clamp_min(0)
        others_NP = (classes - self.top - (~known_NP).long()).clamp_min(1)
        each_NP = torch.minimum(rest_NP / others_NP, largest_NPT[..., -1])
        probs_NPK = each_NP[..., None].repeat(1, 1, classes)
        probs_NPK.scatter_(2, classes_NPT, largest_NPT)
        return probs_NPK.scatter_(2, labels_NP1, own_NP[..., None])


def class_dtype(classes: int) -> np.dtype[Any]:
    """The smallest type for the numbers of so many classes."""
    return np.dtype(np.uint16 if classes <= 2**16 else np.int32)


def _each_plane(labels_N: "Tensor", planes: int) -> "Tensor":
    """`[N, P, 1]`; of a corrupt sample without a label the first class, which counts nowhere."""
    return labels_N.clamp_min(0)[:, None, None].expand(-1, planes, 1)
