"""The time of a step over a training, from the metrics of its log steps."""

import pytest

from platform.report.budget import EVALUATION, Budget
from platform.training.step_parts import CHECKPOINT, FORWARD, PARTS


def reading(step: int, **parts: float) -> tuple[int, dict[str, float], float]:
    return step, {f"within_step/{part}_ms": parts.get(part, 0.0) for part in PARTS}, 0.0


def test_a_reading_counts_for_all_steps_since_the_one_before() -> None:
    """The checkpoint of 600 ms came in the 20 steps that end at 30, of which those until 20 had no reading."""
    series = [reading(10, forward=5.0), (20, {"train/loss": 1.0}, 0.0), reading(30, forward=5.0, checkpoint=30.0)]
    found = Budget.of("one", series, [], 8)
    assert found is not None
    assert found.parts[FORWARD] == 5.0
    assert found.parts[CHECKPOINT] == pytest.approx(600 / 30)


def test_steps_of_a_version_that_measured_none_count_for_nothing() -> None:
    series = [(1000, {"train/loss": 1.0}, 0.0), reading(1010, forward=5.0), reading(1020, forward=7.0)]
    found = Budget.of("one", series, [], 8)
    assert found is not None
    assert found.parts[FORWARD] == 6.0


def test_the_speed_leaves_evaluations_out() -> None:
    """Where the curve has none yet, too: 8 images in 5 ms, beside evaluations that take twice as long."""
    found = Budget.of("one", [reading(10, forward=5.0), (10, {"val/seconds": 0.1}, 0.0)], [], 8)
    assert found is not None
    assert found.parts[EVALUATION] == pytest.approx(10.0)
    assert found.images_per_s == pytest.approx(8 / 0.005)
