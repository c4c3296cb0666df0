"""Comparisons find what differs, and nothing else."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from platform.chaos.compare import metrics, samples, weights
from platform.data.samplelog import SampleLog

Tensors = dict[str, torch.Tensor]
TENSORS = {"a": torch.tensor([1.0, -0.0, float("nan")]), "steps": torch.tensor(3)}


@pytest.fixture
def member(tmp_path: Path) -> Callable[[str, Tensors], Path]:
    def make(name: str, tensors: Tensors) -> Path:
        (tmp_path / name).mkdir()
        torch.save(tensors, tmp_path / name / "weights.pt")
        return tmp_path / name

    return make


def test_weights_are_the_same_bit_by_bit(member: Callable[[str, Tensors], Path]):
    result = weights(member("one", TENSORS), member("two", TENSORS))
    assert result.equal
    assert result.lines() == ["weights: the same (2 tensors)"]


def test_weights_that_differ_say_how_much(member: Callable[[str, Tensors], Path]):
    one, two = member("one", {"a": torch.tensor([1.0, 4.0])}), member("two", {"a": torch.tensor([1.0, 5.0])})
    result = weights(one, two)
    assert not result.equal
    assert (result.absolute, result.relative) == (1.0, 0.2)
    assert result.lines() == ["weights: 1 difference(s) (1 tensors)", "  a: up to 1.0e+00, relatively 2.0e-01"]


@pytest.mark.parametrize(
    ("other", "text"),
    [
        ({"a": TENSORS["a"]}, "1 tensor(s) in the first run only, such as steps"),
        (TENSORS | {"b": torch.zeros(1)}, "1 tensor(s) in the second run only, such as b"),
        (TENSORS | {"steps": torch.tensor([3])}, "steps: torch.int64 [] and torch.int64 [1]"),
        (TENSORS | {"steps": torch.tensor(3.0)}, "steps: torch.int64 [] and torch.float32 []"),
        (TENSORS | {"steps": torch.tensor(4)}, "steps: up to 1.0e+00, relatively 2.5e-01"),
    ],
)
def test_other_tensors_are_differences(member: Callable[[str, Tensors], Path], other: Tensors, text: str):
    assert weights(member("one", TENSORS), member("two", other)).lines()[1:] == [f"  {text}"]


def test_zeros_of_other_signs_are_other_bits(member: Callable[[str, Tensors], Path]):
    result = weights(member("one", {"a": torch.tensor(0.0)}), member("two", {"a": torch.tensor(-0.0)}))
    assert not result.equal
    assert result.absolute == 0.0


def _log(folder: Path, world: int, steps: dict[int, list[int]]) -> Path:
    for rank in range(world):
        with SampleLog(folder, 0, rank, world, wanted=True) as log:
            for step, ids in steps.items():
                log.add(step, torch.tensor(ids[rank::world]))
    return folder


def test_samples_are_the_same_at_any_number_of_workers(tmp_path: Path):
    steps = {0: [5, 2, 9, 1], 1: [3, 4, 8, 7]}
    result = samples(_log(tmp_path / "one", 1, steps), _log(tmp_path / "two", 2, steps))
    assert result.lines() == ["samples: the same (2 steps, 8 samples)"]


def test_the_first_step_with_other_samples_is_named(tmp_path: Path):
    one = _log(tmp_path / "one", 1, {0: [1, 2], 1: [3, 4], 2: [5, 6]})
    two = _log(tmp_path / "two", 1, {0: [1, 2], 1: [3, 7]})
    assert samples(one, two).lines()[1:] == ["  step 1: [4] in the first run, [7] in the second"]
    short = _log(tmp_path / "short", 1, {0: [1, 2], 1: [3, 4]})
    assert samples(one, short).lines()[1:] == ["  step 2 is in the first run only"]


def test_metrics_are_compared_by_step():
    one = {"loss": [(1, 2.0), (2, 1.0)], "lr": [(1, 0.1)]}
    assert all(each.equal for each in metrics(one, one, ["loss", "lr"]))
    (result,) = metrics(one, {"loss": [(1, 2.0), (2, 1.25)]}, ["loss"])
    assert (result.absolute, result.relative) == (0.25, 0.2)
    assert result.lines()[1:] == ["  1 values differ, furthest at step 2: 1 and 1.25 (2.0e-01)"]


def test_points_that_are_missing_double_or_late_are_differences():
    whole, broken = [(1, 2.0), (2, 1.0), (3, 0.5)], [(2, 1.0), (1, 2.0), (1, 2.0)]
    (result,) = metrics({"loss": whole}, {"loss": broken}, ["loss"])
    assert result.lines()[1:] == [
        "  second run: step 1 comes after step 2",
        "  second run: step 1 comes after step 1",
        "  1 step(s) in the first run only, such as 3",
    ]
    (nothing,) = metrics({}, {"loss": whole}, ["loss"])
    assert not nothing.equal
