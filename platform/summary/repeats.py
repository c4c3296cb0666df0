"""Stages that repeat one another: told once, with how often.

In: stages. Out: groups of stages that follow one another and look alike.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from platform.summary.branches import Series, series_of
from platform.summary.stages import Stage

_NUMBERED = re.compile(r"(.*?)(\d+|[a-z])$")


@dataclass(frozen=True)
class Group:
    """Stages that look alike, one after the other; most often a single one."""

    stages: Sequence[Stage]
    series: Series  # of each

    @property
    def first(self) -> Stage:
        return self.stages[0]

    @property
    def last(self) -> Stage:
        return self.stages[-1]

    @property
    def name(self) -> str:
        """`layer1.1-2` of layer1.1 and layer1.2."""
        first, last = _NUMBERED.match(self.first.name), _NUMBERED.match(self.last.name)
        if len(self.stages) == 1 or not first or not last or first[1] != last[1]:
            return self.first.name if len(self.stages) == 1 else f"{self.first.name} ..."
        return f"{self.first.name}-{last[2]}"

    @property
    def parameters(self) -> int:
        return sum(stage.parameters for stage in self.stages)

    @property
    def multiply_adds(self) -> int:
        return sum(stage.multiply_adds for stage in self.stages)

    @property
    def activation_bytes(self) -> float:
        return sum(stage.activation_bytes for stage in self.stages)


def groups_of(stages: Sequence[Stage]) -> list[Group]:
    """The stages in groups of those that look alike; each group of several is a chain."""
    found: list[list[Stage]] = []
    for stage in stages:
        before = found[-1][-1] if found else None
        if before is not None and stage.sources == (before.number,) and _looks(stage) == _looks(before):
            found[-1].append(stage)
        else:
            found.append([stage])
    return [Group(group, series_of(group[0].layers)) for group in found]


def _looks(stage: Stage) -> tuple[object, ...]:
    layers = tuple((layer.kind, layer.what, layer.width, tuple(layer.inputs)) for layer in stage.layers)
    return stage.kind, stage.shape, stage.is_auxiliary, layers
