"""Speed, data sets and interruptions as MLflow gets them."""

from dataclasses import replace
from pathlib import Path

import pytest

from platform.config.data import AlsoConfig, DataConfig
from platform.config.sections import Config
from platform.data.index import read_index
from platform.data.sets import read_sets
from platform.experiment.goodput import Attempt
from platform.experiment.member_folder import MemberFolder
from platform.tracking.figures import datasets, ended_by_scores, interruptions, speed


def at(step: int, images_per_s: float) -> tuple[int, dict[str, float], float]:
    return step, {"train/images_per_s": images_per_s}, 0.0


def test_the_mean_speed_is_all_images_over_all_seconds_and_steps_trained_again_count_once():
    assert speed([at(10, 100.0), at(20, 50.0)]) == {"speed_images_per_s": pytest.approx(20 / (10 / 100 + 10 / 50))}
    assert speed([at(10, 1.0), at(20, 50.0), at(10, 100.0), (15, {"val/top1": 0.5}, 0.0)]) == {
        "speed_images_per_s": pytest.approx(20 / (10 / 100 + 10 / 50))
    }
    assert speed([(10, {"val/top1": 0.5}, 0.0), at(10, 0.0)]) == {}


def test_every_metric_of_every_step_stays_in_the_members_folder(tmp_path: Path):
    folder = MemberFolder(tmp_path)
    folder.metrics.keep(1, {"train/loss": 2.0})
    assert [step for step, _, _ in folder.metrics.take()] == [1]
    assert folder.metrics.take() == []
    folder.metrics.keep(2, {"train/loss": 1.0})
    assert [(step, metrics) for step, metrics, _ in folder.metrics.read()] == [
        (1, {"train/loss": 2.0}),
        (2, {"train/loss": 1.0}),
    ]


def test_data_sets_have_digest_and_counts(digits_data: DataConfig):
    data = read_index(digits_data.shards)
    train, val = datasets(Config(data=digits_data), data, "val")
    assert (train.context, val.context) == ("training", "validation")
    assert (train.digest, val.digest) == (data.split("train").digest, data.split("val").digest)
    assert val.profile["images"] == 359
    assert val.source == data.url


def test_every_set_of_a_blend_is_a_data_set_with_its_weight(digits_data: DataConfig):
    also = {name: AlsoConfig(digits_data.shards, weight) for name, weight in (("more", 0.25), ("few", 0.05))}
    data = replace(digits_data, also=also)
    *training, val = datasets(Config(data=data), read_sets(data), "val")
    assert [(each.name, each.context, each.profile["weight"]) for each in training] == [
        ("digits train", "training", 0.7),
        ("few train", "training", 0.05),
        ("more train", "training", 0.25),
    ]
    assert {each.digest for each in training} == {read_index(digits_data.shards).split("train").digest}
    assert (val.name, val.context) == ("digits val", "validation")
    assert "weight" not in val.profile


def test_what_came_between_is_told_and_ordinary_ends_are_not():
    ends = ["rank 1 died", "stopped by SIGINT", "finished"]
    attempts = [Attempt(0, 0, reason=reason) for reason in ends]
    stopped = [Attempt(0, 0, reason="left by hyperband"), Attempt(0, 0, reason="stopped")]
    assert interruptions({"one": attempts, "p000-s0": stopped, "new": [Attempt(0, 0)]}) == (
        "one, attempt 1: rank 1 died; one, attempt 2: stopped by SIGINT"
    )
    assert interruptions({"two": attempts[2:]}) == ""
    assert interruptions({f"m{n}": attempts[:1] for n in range(23)}).endswith("; and 3 more")


def test_what_scores_have_chosen_is_said() -> None:
    series = [(8, {"train/loss": 1.0}, 0.0), (9, {"val/top1": 0.5, "stopped_epoch": 3.0}, 1.0)]
    assert ended_by_scores("wide", series[:1]) == ""
    assert ended_by_scores("wide", series) == (
        "wide stopped early at epoch 3: validation scores are optimistic where they choose."
    )
    said = ended_by_scores("wide", [*series, (12, {"best_epoch": 2.0}, 2.0)])
    assert "stopped early at epoch 3 and has the weights of epoch 2, the best on validation: " in said
