"""Learning curves on disk: every evaluation once, whatever kills and restarts did to the file."""

import json
import math
import random
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform.training.learning_curve import FILE, OPTIONAL, CurveReader, CurveWriter, EvaluationPoint, append, read
from tests.counting import cost_of


def evaluation(step: int, top1: float = 0.5) -> EvaluationPoint:
    return EvaluationPoint(step / 10, step, top1, 0.9, 1.0, 100.0)


def training(step: int, images_per_s: float = 100.0, progress: float = 0.5) -> dict[str, float]:
    return {"train/epoch": step / 10, "train/images_per_s": images_per_s, "progress": progress, "train/loss": 2.0}


WAITED = {"data/wait_share": 0.25}
SCORES = {"val/top1": 0.5, "val/top5": 0.9, "val/loss": 1.0}


def test_no_file_is_no_curve(tmp_path: Path):
    assert read(tmp_path) == []
    assert read(tmp_path / "nowhere") == []


def test_what_is_written_is_read(tmp_path: Path):
    evaluations = [evaluation(10), EvaluationPoint(2.0, 20, 1 / 3, 0.99, 0.1, 1234.5, last=True)]
    for each in evaluations:
        append(tmp_path, each)
    assert read(tmp_path) == evaluations


def test_a_step_that_was_trained_again_counts_once_as_the_newest(tmp_path: Path):
    for step, top1 in ((10, 0.1), (20, 0.2), (30, 0.3), (20, 0.25), (30, 0.35)):
        append(tmp_path, evaluation(step, top1))
    assert [(each.step, each.top1) for each in read(tmp_path)] == [(10, 0.1), (20, 0.25), (30, 0.35)]


@given(st.integers(0, 200), st.binary(max_size=5))
@settings(max_examples=60, deadline=None)
def test_a_torn_line_costs_itself_only(tmp_path_factory: pytest.TempPathFactory, cut: int, dirt: bytes):
    """What comes after it must not be lost in the same line."""
    folder = tmp_path_factory.mktemp("torn")
    append(folder, evaluation(10))
    whole = json.dumps(asdict(evaluation(20))).encode()
    with (folder / FILE).open("ab") as file:
        file.write(whole[:cut] + dirt.replace(b"\n", b""))
    append(folder, evaluation(30))
    found = read(folder)
    assert [each for each in found if each.step != 20] == [evaluation(10), evaluation(30)]


@pytest.mark.parametrize(
    "line",
    [b"\xff\xfe\x00", b"[]", b"3", b"null", b"{}", b'{"step": 5}', b"[" * 100_000, b"\x00" * 50,
     json.dumps(asdict(evaluation(5)) | {"step": "5"}).encode(),
     json.dumps(asdict(evaluation(5)) | {"top1": None}).encode(),
     json.dumps(asdict(evaluation(5)) | {"more": 1}).encode()],
)  # fmt: skip
def test_a_damaged_line_is_passed_over(tmp_path: Path, line: bytes):
    append(tmp_path, evaluation(10))
    with (tmp_path / FILE).open("ab") as file:
        file.write(line + b"\n")
    append(tmp_path, evaluation(20))
    assert read(tmp_path) == [evaluation(10), evaluation(20)]


def test_an_evaluation_takes_the_newest_figures_and_the_median_speed_since_the_one_before(tmp_path: Path):
    writer = CurveWriter(tmp_path)
    for step, speed in ((10, 90.0), (20, 1.0), (30, 110.0)):
        writer.take(step, training(step, speed))
    assert read(tmp_path) == []  # nothing was evaluated
    writer.take(30, SCORES)
    assert read(tmp_path) == [EvaluationPoint(3.0, 30, 0.5, 0.9, 1.0, 90.0)]
    writer.take(40, training(40, 500.0, progress=1.0))
    writer.take(40, SCORES)
    assert read(tmp_path)[1] == EvaluationPoint(4.0, 40, 0.5, 0.9, 1.0, 500.0, last=True)


def test_loss_and_waiting_are_means_over_the_steps_since_the_evaluation_before(tmp_path: Path):
    writer = CurveWriter(tmp_path)
    logged = {1: (8.0, 0.9), 10: (2.0, 0.1), 20: (1.0, 0.3)}
    for step, (loss, wait) in logged.items():
        writer.take(step, training(step) | {"train/loss": loss, "data/wait_share": wait})
    writer.take(20, SCORES)
    writer.take(30, {name: value for name, value in training(30).items() if name != "train/loss"} | WAITED)
    writer.take(30, SCORES)
    writer.take(40, {"train/epoch": 4.0, "progress": 0.5})  # a restart between a checkpoint and its evaluation
    writer.take(40, SCORES)
    first, skipped, unknown = read(tmp_path)
    assert first.train_loss == pytest.approx((8.0 + 9 * 2.0 + 10 * 1.0) / 20)
    assert first.wait_share == pytest.approx((0.9 + 9 * 0.1 + 10 * 0.3) / 20)
    assert (skipped.train_loss, skipped.wait_share) == (None, 0.25)  # every step since was left out as a bad one
    assert (unknown.train_loss, unknown.wait_share) == (None, None)


def test_going_back_to_an_earlier_step_weighs_nothing_negatively(tmp_path: Path):
    """PBT goes on from a state of before."""
    writer = CurveWriter(tmp_path)
    for step in (100, 10, 20):
        writer.take(step, training(step) | WAITED)
    writer.take(20, SCORES)
    assert writer.newest is not None
    assert writer.newest.train_loss == 2.0


def test_a_curve_of_earlier_versions_is_read(tmp_path: Path):
    old = {key: value for key, value in asdict(evaluation(10)).items() if key not in OPTIONAL}
    (tmp_path / FILE).write_text(json.dumps(old) + "\n")
    assert read(tmp_path) == [evaluation(10)]


def test_an_evaluation_without_timed_steps_has_no_speed(tmp_path: Path):
    """Such as the first after a start: the meter gives 0 then."""
    writer = CurveWriter(tmp_path)
    writer.take(10, training(10, 0.0))
    writer.take(10, SCORES)
    assert read(tmp_path)[0].images_per_s == 0.0


def test_a_writer_knows_its_newest_evaluation_without_reading(tmp_path: Path):
    writer = CurveWriter(tmp_path)
    assert writer.newest is None
    for step in (20, 40, 30):  # PBT goes on from a state of before
        writer.take(step, training(step))
        writer.take(step, SCORES)
        assert writer.newest is not None
        assert writer.newest.step == step
    cost = cost_of(lambda: writer.newest, tmp_path)
    assert cost.opens == 0
    assert [each.step for each in read(tmp_path)] == [20, 30, 40]


def test_curves_of_trials_that_do_not_run_are_read_once(tmp_path: Path):
    for name in ("over", "under way"):
        (tmp_path / name).mkdir()
        append(tmp_path / name, evaluation(10, 0.3 if name == "over" else 0.2))
    reader = CurveReader(lambda name: tmp_path / name)
    reader.runs("under way")
    reader.add(["over", "under way", "to come"])
    assert [reader.place_at(1.0, top1) for top1 in (0.3, 0.2, 0.25, 0.1)] == [(1, 2), (2, 2), (2, 2), (3, 2)]
    for step in (20, 30):
        append(tmp_path / "under way", evaluation(step, step / 100))
        cost = cost_of(lambda step=step: reader.place_at(step / 10, 0.5), tmp_path)
        assert set(cost.opened) == {f"under way/{FILE}"}
        assert reader.place_at(step / 10, step / 100 - 0.01) == (2, 1)
    reader.ended("under way")
    assert [each.step for each in reader("under way")] == [10, 20, 30]
    assert cost_of(lambda: reader.place_at(2.0, 0.5), tmp_path).opens == 0
    reader.runs("over")
    append(tmp_path / "over", evaluation(20, 0.9))
    assert [reader.place_at(2.0, top1) for top1 in (0.95, 0.9, 0.3)] == [(1, 2), (1, 2), (2, 2)]


def test_the_place_of_a_score_is_that_of_a_count(tmp_path: Path):
    """Of curves that grow, are trained again with other scores, and are no numbers."""
    draws, names = random.Random(0), [f"t{number}" for number in range(8)]
    reader = CurveReader(lambda name: tmp_path / name)
    for name in names:
        (tmp_path / name).mkdir()
        reader.runs(name)
    for _ in range(60):
        score = draws.choice([0.1, 0.2, 0.2, draws.random(), math.nan])
        append(tmp_path / draws.choice(names), evaluation(draws.choice([10, 20]), score))
        for epoch in (1.0, 2.0):
            there = [each.top1 for name in names for each in read(tmp_path / name) if each.epoch == epoch]
            for top1 in (0.0, 0.15, 0.2, score):
                assert reader.place_at(epoch, top1) == (1 + sum(other > top1 for other in there), len(there))
