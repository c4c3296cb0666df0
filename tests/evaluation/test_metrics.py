"""Scores of hand-made cases, and of random ones against a plain sort."""

import math

import numpy as np
import pytest
import torch

from platform.evaluation.metrics import Scores


def scores(probs: list[list[float]], labels: list[int], valid: list[bool] | None = None) -> Scores:
    return Scores.of(torch.tensor(probs), torch.tensor(labels), torch.tensor(valid or [True] * len(labels)))


def test_a_hand_made_case() -> None:
    probs = [0.30, 0.25, 0.20, 0.15, 0.07, 0.03]
    found = scores([probs] * 6, list(range(6)))
    assert (found.samples, found.top1, found.top5, found.corrupt) == (6, 1, 5, 0)
    assert found.loss == pytest.approx(-sum(math.log(p) for p in probs), rel=1e-6)


@pytest.mark.parametrize(("label", "top1", "top5"), [(0, 1, 1), (1, 0, 1), (4, 0, 1), (5, 0, 0), (7, 0, 0)])
def test_of_equal_classes_the_smaller_number_is_above(label: int, top1: int, top5: int) -> None:
    found = scores([[1 / 8] * 8], [label])
    assert (found.top1, found.top5) == (top1, top5)


def test_a_tie_behind_the_label_costs_nothing() -> None:
    assert scores([[0.2, 0.4, 0.2, 0.2]], [1]).top1 == 1
    assert scores([[0.4, 0.4, 0.1, 0.1]], [0]).top1 == 1
    assert scores([[0.4, 0.4, 0.1, 0.1]], [1]).top1 == 0


def test_corrupt_samples_are_counted_apart_and_in_no_sum() -> None:
    probs = [[0.9, 0.1], [0.9, 0.1], [0.2, 0.8]]
    found = scores(probs, [0, 0, 0], [True, False, True])
    assert found.corrupt == 1
    assert replace_corrupt(found) == scores([probs[0], probs[2]], [0, 0])


def replace_corrupt(found: Scores) -> Scores:
    return Scores(found.samples, found.top1, found.top5, found.loss)


def test_nothing_but_corrupt_samples_scores_nothing() -> None:
    found = scores([[0.5, 0.5]], [0], [False])
    assert found == Scores(corrupt=1)
    assert all(math.isnan(rate) for rate in found.rates().values())


def test_probabilities_are_scaled_to_add_up_to_one() -> None:
    """The largest over views add up to more; only their proportions count."""
    assert scores([[0.6, 1.8, 0.6]], [1]).loss == pytest.approx(-math.log(0.6), rel=1e-6)


def test_a_certain_error_costs_much_but_not_everything() -> None:
    found = scores([[1.0, 0.0]], [1])
    assert math.isfinite(found.loss)
    assert found.loss > 60


def test_what_is_not_a_number_is_wrong() -> None:
    found = scores(
        [[math.nan] * 8, [math.nan, 0.5, 0.5, 0, 0, 0, 0, 0], [0.5, math.nan, 0.5, 0, 0, 0, 0, 0]], [0, 0, 0]
    )
    assert found.top1 == 0
    assert math.isnan(found.loss)


def test_parts_add_up_to_the_whole() -> None:
    torch.manual_seed(0)
    probs, labels, valid = torch.rand(50, 12).softmax(1), torch.randint(12, (50,)), torch.rand(50) < 0.8
    whole = Scores.of(probs, labels, valid)
    total = Scores()
    for part in (slice(0, 1), slice(1, 20), slice(20, 50)):
        total += Scores.of(probs[part], labels[part], valid[part])
    assert total.as_list() == pytest.approx(whole.as_list())
    assert total.samples + total.corrupt == 50


def test_random_scores_equal_a_plain_sort() -> None:
    generator = np.random.default_rng(0)
    probs = generator.integers(1, 6, (400, 9)).astype(np.float32)  # few values: many ties
    labels = generator.integers(0, 9, 400)
    top1 = top5 = 0
    loss = 0.0
    for row, label in zip(probs, labels, strict=True):
        best = sorted(range(9), key=lambda k: (-row[k], k))
        top1 += best[0] == label
        top5 += label in best[:5]
        loss -= math.log(row[label] / row.sum())
    found = Scores.of(torch.from_numpy(probs), torch.from_numpy(labels), torch.ones(400, dtype=torch.bool))
    assert (found.samples, found.top1, found.top5) == (400, top1, top5)
    assert found.loss == pytest.approx(loss, rel=1e-5)
    assert found.rates() == pytest.approx({"top1": top1 / 400, "top5": top5 / 400, "loss": loss / 400}, rel=1e-5)


def test_two_classes_are_always_in_the_top_five() -> None:
    assert scores([[0.9, 0.1]], [1]).top5 == 1
