"""How far results are from what they are compared with, as a share of it.

In: tensors, on any device. Out: the Euclidean norm of the difference over that of the reference, which rounding keeps
small whatever the size of the numbers; NaN and infinities pass no tolerance.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Difference:
    """One comparison: passed where `value` is at most `tolerance`."""

    what: str  # is compared, such as logits
    value: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Not passed where it is not a number."""
        return self.value <= self.tolerance

    @property
    def share(self) -> float:
        """Of its tolerance; infinite where that is 0 and anything differs, or where it is not a number."""
        if math.isnan(self.value):
            return math.inf
        return self.value / self.tolerance if self.tolerance else (math.inf if self.value else 0.0)


def relative(found: Iterable[Tensor], reference: Iterable[Tensor]) -> float:
    """The norm of the difference of all tensors together over that of the references; NaN if anything is not finite.

    Raises:
        ValueError: they differ in number or shape.
    """
    apart = of_reference = 0.0
    for one, other in zip(found, reference, strict=True):
        if one.shape != other.shape:
            raise ValueError(f"{tuple(one.shape)} cannot be compared with {tuple(other.shape)}")
        there, here = one.detach().double().cpu(), other.detach().double().cpu()
        apart += float((there - here).square().sum())
        of_reference += float(here.square().sum())
    if not math.isfinite(apart) or not math.isfinite(of_reference):
        return math.nan
    return math.sqrt(apart / of_reference) if of_reference else (0.0 if apart == 0 else math.inf)


def same_bits(found: Mapping[str, Tensor], reference: Mapping[str, Tensor]) -> bool:
    """Whether two states are equal to the last bit."""
    if found.keys() != reference.keys():
        return False
    return all(torch.equal(found[name].detach().cpu(), each.detach().cpu()) for name, each in reference.items())


def largest(differences: Iterable[Difference]) -> Difference:
    """The one that comes nearest to its tolerance, or is farthest beyond it."""
    return max(differences, key=lambda each: each.share)
