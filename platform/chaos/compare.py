"""How two runs of the same members differ: weights, sample logs, metrics. Pure.

In: two members' folders, or metric histories as (step, value). Out: comparisons that are equal or say where not.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from platform.data import samplelog
from platform.experiment.member_folder import MemberFolder

History = Mapping[str, Sequence[tuple[int, float]]]  # metric -> its points, in the order in which they were written


@dataclass(frozen=True)
class Difference:
    """One thing that is not the same in both runs."""

    text: str
    absolute: float = 0.0  # the largest between two values, where values differ
    relative: float = 0.0  # to the larger of the two


@dataclass(frozen=True)
class Comparison:
    """What was compared, how much of it, and every difference."""

    what: str
    extent: str
    differences: tuple[Difference, ...] = ()

    @property
    def equal(self) -> bool:
        return not self.differences

    @property
    def absolute(self) -> float:
        return max((each.absolute for each in self.differences), default=0.0)

    @property
    def relative(self) -> float:
        return max((each.relative for each in self.differences), default=0.0)

    def lines(self) -> list[str]:
        """Text for the terminal: one line if equal, else one more for each difference."""
        verdict = "the same" if self.equal else f"{len(self.differences)} difference(s)"
        return [f"{self.what}: {verdict} ({self.extent})", *(f"  {each.text}" for each in self.differences)]


def weights(first: Path, second: Path) -> Comparison:
    """Compare the trained weights in two members' folders bit by bit; one difference a tensor."""
    one, two = (
        torch.load(MemberFolder(path).weights, map_location="cpu", weights_only=True) for path in (first, second)
    )
    differences = _only_in_one("tensor", one, two)
    differences += [
        _between(name, one[name], two[name]) for name in one if name in two and not _same_bits(one[name], two[name])
    ]
    return Comparison("weights", f"{len(one)} tensors", tuple(differences))


def samples(first: Path, second: Path) -> Comparison:
    """Compare the samples of every global batch in two members' folders, over all workers; the first difference."""
    one, two = samplelog.read(first), samplelog.read(second)
    extent = f"{len(one)} steps, {sum(map(len, one.values()))} samples"
    step = next((step for step in sorted(one.keys() | two.keys()) if one.get(step) != two.get(step)), None)
    if step is None:
        return Comparison("samples", extent)
    return Comparison("samples", extent, (Difference(_samples_of(step, one.get(step), two.get(step))),))


def metrics(first: History, second: History, keys: Iterable[str]) -> list[Comparison]:
    """Compare metrics: both runs should have the same steps, each once and rising, and the same values."""
    return [_metric(key, first.get(key, []), second.get(key, [])) for key in keys]


def _metric(key: str, first: Sequence[tuple[int, float]], second: Sequence[tuple[int, float]]) -> Comparison:
    differences = [
        Difference(f"{which} run: step {late} comes after step {early}")
        for which, points in (("first", first), ("second", second))
        for early, late in _not_rising([step for step, _ in points])
    ]
    one, two = dict(first), dict(second)
    differences += _only_in_one("step", one, two)
    unequal = [step for step in sorted(one.keys() & two.keys()) if one[step] != two[step]]
    if unequal:
        differences.append(_furthest(unequal, one, two))
    return Comparison(key, f"{len(first)} points", tuple(differences))


def _not_rising(steps: Sequence[int]) -> list[tuple[int, int]]:
    return [(early, late) for early, late in zip(steps, steps[1:], strict=False) if late <= early]


def _furthest(steps: list[int], one: dict[int, float], two: dict[int, float]) -> Difference:
    relative, step = max((_relative(one[step], two[step]), step) for step in steps)
    absolute = max(abs(one[step] - two[step]) for step in steps)
    text = f"{len(steps)} values differ, furthest at step {step}: {one[step]:.9g} and {two[step]:.9g} ({relative:.1e})"
    return Difference(text, absolute, relative)


def _relative(one: float, two: float) -> float:
    return abs(one - two) / max(abs(one), abs(two))


def _only_in_one(kind: str, one: Mapping[str, object] | Mapping[int, object], two: Mapping) -> list[Difference]:
    return [
        Difference(f"{len(names)} {kind}(s) in the {which} run only, such as {names[0]}")
        for which, names in (("first", sorted(one.keys() - two.keys())), ("second", sorted(two.keys() - one.keys())))
        if names
    ]


def _same_bits(one: torch.Tensor, two: torch.Tensor) -> bool:
    if one.dtype != two.dtype or one.shape != two.shape:
        return False
    return torch.equal(*(each.flatten().contiguous().view(torch.uint8) for each in (one, two)))


def _between(name: str, one: torch.Tensor, two: torch.Tensor) -> Difference:
    if one.dtype != two.dtype or one.shape != two.shape:
        return Difference(f"{name}: {one.dtype} {[*one.shape]} and {two.dtype} {[*two.shape]}")
    one, two = one.double(), two.double()
    apart = (one - two).abs()
    absolute = apart.max().item()
    relative = (apart / torch.maximum(one.abs(), two.abs()).clamp_min(torch.finfo(torch.float64).tiny)).max().item()
    return Difference(f"{name}: up to {absolute:.1e}, relatively {relative:.1e}", absolute, relative)


def _samples_of(step: int, one: list[int] | None, two: list[int] | None) -> str:
    if one is None or two is None:
        return f"step {step} is in the {'second' if one is None else 'first'} run only"
    lost, new = sorted(set(one) - set(two))[:5], sorted(set(two) - set(one))[:5]
    return f"step {step}: {lost} in the first run, {new} in the second"
