"""The time of a member's steps by part, over its whole training.

In: the metrics of its log steps, or the learning curve where those do not tell the parts apart. Out: ms a step.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from platform.training.learning_curve import EvaluationPoint
from platform.training.step_parts import DECODE, PARTS, WAIT

COMPUTING, EVALUATION = "computing", "evaluation"  # all but waiting, where no more is known
Series = Sequence[tuple[int, dict[str, float], float]]  # (step, metrics, seconds since the epoch)


@dataclass(frozen=True)
class Budget:
    """What a step of one member takes, in milliseconds."""

    name: str
    images_per_s: float
    parts: dict[str, float] = field(default_factory=dict)  # of the training, then evaluation
    decode_ms: float = 0.0  # beside the training, by all threads that decode

    @property
    def told_apart(self) -> bool:
        """Whether the parts of computing are known."""
        return COMPUTING not in self.parts

    @property
    def waiting_is_known(self) -> bool:
        return WAIT in self.parts

    @property
    def ms(self) -> float:
        """The whole step."""
        return sum(self.parts.values())

    @classmethod
    def of(cls, name: str, series: Series, points: Sequence[EvaluationPoint], batch_size: int) -> Self | None:
        """The budget of a member; None: no speed was measured.

        Args:
            name: the member's.
            series: metrics of its log steps and evaluations; steps that were trained twice count as the last time.
            points: its learning curve.
            batch_size: images in a global batch.
        """
        speeds = [point.images_per_s for point in points if point.images_per_s > 0]
        images_per_s = statistics.median(speeds) if speeds else 0.0
        if found := _means(series):
            decode_ms = found.pop(DECODE)
            training_ms = sum(found.values()) - found[EVALUATION]
            return cls(name, images_per_s or 1000 * batch_size / training_ms, found, decode_ms)
        if not speeds:
            return None
        return cls(name, images_per_s, _from_curve(points, 1000 * batch_size / images_per_s))


def _means(series: Series) -> dict[str, float]:
    """Means over the steps, with what evaluations took spread over them; empty: the parts were not measured."""
    newest: dict[int, dict[str, float]] = {}
    for step, metrics, _ in series:
        newest[step] = newest.get(step, {}) | metrics
    sums, measured, before, evaluating_s = dict.fromkeys((*PARTS, DECODE), 0.0), 0, 0, 0.0
    for step, metrics in sorted(newest.items()):
        evaluating_s += metrics.get("val/seconds", 0.0)
        is_reading = "within_step/forward_ms" in metrics
        if is_reading:
            measured += step - before
            for part in sums:
                sums[part] += metrics.get(f"within_step/{part}_ms", 0.0) * (step - before)
        if is_reading or not measured:  # a reading is of all steps since the one before; an earlier version had none
            before = step
    if not measured:
        return {}
    return {part: each / measured for part, each in sums.items()} | {EVALUATION: 1000 * evaluating_s / max(newest)}


def _from_curve(points: Sequence[EvaluationPoint], ms: float) -> dict[str, float]:
    """Earlier versions measured at most how long a step waits for its batch."""
    waits = [point.wait_share for point in points if point.wait_share is not None]
    if not waits:
        return {COMPUTING: ms}
    waiting = ms * min(max(statistics.median(waits), 0.0), 1.0)
    return {WAIT: waiting, COMPUTING: ms - waiting}
