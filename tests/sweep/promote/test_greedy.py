"""Which points complete each other: by what their probabilities add; the other half of the images teaches nothing."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from platform.config.checks import ConfigError
from platform.evaluation.probabilities import MemberProbabilities
from platform.evaluation.statistics.halves import selecting_half
from platform.sweep.promote.greedy import greedy
from tests.sweep.handmade import write_probabilities

SAMPLES, CLASSES = 60, 3
LABELS = np.arange(SAMPLES) % CLASSES
SELECTING = selecting_half(SAMPLES)


def sure(right_N: NDArray[np.bool_], confidence: float = 0.9, views: int = 1) -> NDArray[np.float32]:
    """`[N, V, K]`: the label with `confidence` where right, the next class with it where wrong."""
    said_N = np.where(right_N, LABELS, (LABELS + 1) % CLASSES)
    probs_NK = np.full((SAMPLES, CLASSES), (1 - confidence) / (CLASSES - 1))
    probs_NK[np.arange(SAMPLES), said_N] = confidence
    return np.repeat(probs_NK[:, None], views, 1).astype(np.float32)


def evaluated(tmp_path: Path, *probs: NDArray[np.float32]) -> dict[int, MemberProbabilities]:
    return {number: write_probabilities(tmp_path, f"p{number}", each, LABELS) for number, each in enumerate(probs)}


def wrong_on(places: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Right but there."""
    right_N = np.ones(SAMPLES, np.bool_)
    right_N[places] = False
    return right_N


def test_greedy_prefers_a_worse_point_that_completes_the_best(tmp_path: Path):
    """The second best is wrong where the best is; the third, wrong more often but elsewhere, mends it."""
    ids = np.flatnonzero(SELECTING)
    first = sure(wrong_on(ids[:4]), 0.6)
    second = sure(wrong_on(ids[:5]), 0.6)
    third = sure(wrong_on(ids[10:18]), 0.9)  # sure of itself where the best errs ...
    third[ids[10:18]] = sure(wrong_on(ids[10:18]), 0.4)[ids[10:18]]  # ... and unsure where it errs itself
    found = greedy(evaluated(tmp_path, first, second, third), 2)
    assert found.points == [0, 2]
    assert [each.selecting.top1 for each in found.path] == [len(ids) - 4, len(ids)]
    assert found.path[0].selecting.samples == len(ids)


def test_the_score_reported_is_that_of_the_other_half(tmp_path: Path):
    """A point that is right on the half that selects, and wrong on the other, is taken: and its true worth shown."""
    lucky, honest = sure(SELECTING), sure(wrong_on(np.arange(0, SAMPLES, 10)))
    found = greedy(evaluated(tmp_path, honest, lucky), 1)
    assert found.points == [1]
    assert found.path[0].selecting.rates()["top1"] == 1
    assert found.path[0].held_out.rates()["top1"] == 0
    assert found.path[0].held_out.samples == SAMPLES - SELECTING.sum()


def test_nothing_of_the_other_half_is_used_to_select(tmp_path: Path):
    rng = np.random.default_rng(3)
    probs = [rng.dirichlet(np.ones(CLASSES), (SAMPLES, 2)).astype(np.float32) for _ in range(6)]
    before = greedy(evaluated(tmp_path / "before", *probs), 4)
    for each in probs:
        each[~SELECTING] = rng.dirichlet(np.ones(CLASSES), (int((~SELECTING).sum()), 2))
    after = greedy(evaluated(tmp_path / "after", *probs), 4)
    assert after.points == before.points
    assert [each.selecting for each in after.path] == [each.selecting for each in before.path]
    assert [each.held_out for each in after.path] != [each.held_out for each in before.path]


def test_of_equal_top1_the_lower_loss_wins_and_then_the_rank(tmp_path: Path):
    right = np.ones(SAMPLES, np.bool_)
    members = evaluated(tmp_path, sure(right, 0.5), sure(right, 0.9), sure(right, 0.9))
    assert greedy(members, 1).points == [1]
    assert greedy(dict(reversed(members.items())), 1).points == [2]


def test_the_path_is_the_mean_of_probabilities_over_views_and_points(tmp_path: Path):
    """Against a direct computation; points have as many views as the one that has fewest, and none is taken twice."""
    rng = np.random.default_rng(0)
    probs = [rng.dirichlet(np.ones(CLASSES), (SAMPLES, views)).astype(np.float32) for views in (10, 4, 10)]
    found = greedy(evaluated(tmp_path, *probs), 3)
    assert found.views == 4
    assert sorted(found.points) == [0, 1, 2]
    for length, addition in enumerate(found.path, 1):
        mean_NK = np.mean([probs[point][:, :4].mean(1) for point in found.points[:length]], axis=0)
        own_N = mean_NK[np.arange(SAMPLES), LABELS]
        for scores, half in ((addition.selecting, SELECTING), (addition.held_out, ~SELECTING)):
            assert scores.top1 == (mean_NK.argmax(1) == LABELS)[half].sum()
            assert scores.loss == pytest.approx(-np.log(own_N[half]).sum(), rel=1e-5)


def test_images_that_one_point_could_not_read_count_for_none(tmp_path: Path):
    right = np.ones(SAMPLES, np.bool_)
    members = evaluated(tmp_path, sure(right))
    members[1] = write_probabilities(tmp_path, "p1", sure(right), LABELS, corrupt=(0, 1, 2, 3))
    path = greedy(members, 2).path
    assert {each.selecting.samples + each.held_out.samples for each in path} == {SAMPLES - 4}


def test_probabilities_that_are_no_numbers_come_last(tmp_path: Path):
    broken = sure(np.ones(SAMPLES, np.bool_))
    broken[:] = np.nan
    members = evaluated(tmp_path, broken, sure(np.zeros(SAMPLES, np.bool_)), sure(wrong_on(np.arange(6))))
    assert greedy(members, 3).points == [2, 1, 0]


@pytest.mark.parametrize("labels", [LABELS[:-1], (LABELS + 1) % CLASSES])
def test_points_evaluated_on_other_images_are_refused(tmp_path: Path, labels: NDArray[np.int64]):
    right = np.ones(SAMPLES, np.bool_)
    members = evaluated(tmp_path, sure(right))
    members[7] = write_probabilities(tmp_path, "odd", sure(right)[: len(labels)], labels)
    with pytest.raises(ConfigError, match="points 0 and 7 were not evaluated on the same 60 images"):
        greedy(members, 2)


@pytest.mark.parametrize("samples", [2, 3, 1000])
def test_the_halves_are_halves_and_always_the_same(samples: int):
    half = selecting_half(samples)
    assert int(half.sum()) == (samples + 1) // 2
    assert np.array_equal(half, selecting_half(samples))
