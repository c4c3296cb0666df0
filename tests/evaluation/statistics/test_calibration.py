"""ECE, Brier score and NLL against loops over images, scikit-learn, and cases whose answer is plain."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss

from platform.evaluation.statistics.calibration import BINS, brier, ece, mean, nll, reliability
from platform.evaluation.statistics.diversity import disagreement

SURE = st.lists(st.tuples(st.floats(0.0, 1.0), st.booleans()), min_size=1, max_size=80)


def looped(pairs: list[tuple[float, bool]], bins: int) -> float:
    total = 0.0
    for number in range(bins):
        low, high = number / bins, (number + 1) / bins
        inside = [pair for pair in pairs if low < pair[0] <= high or (number == 0 and pair[0] == 0)]
        total += abs(sum(right for _, right in inside) - sum(sure for sure, _ in inside))
    return total / len(pairs)


@settings(deadline=None)
@given(SURE)
def test_ece_is_a_loop_over_bins(pairs: list[tuple[float, bool]]):
    confidence, right = np.array([sure for sure, _ in pairs]), np.array([right for _, right in pairs])
    edges = [round(sure * BINS) / BINS == sure and sure > 0 for sure, _ in pairs]  # which rounding may move by one
    if not any(edges):
        assert ece(confidence, right) == pytest.approx(looped(pairs, BINS), abs=1e-9)
    found = reliability(confidence, right)
    assert sum(each.count for each in found) == len(pairs)
    assert 0 <= ece(confidence, right) <= 1


def test_plain_cases_of_ece():
    sure, half = np.ones(100), np.arange(100) < 50
    assert ece(sure, np.ones(100, np.bool_)) == 0  # always sure, always right
    assert ece(sure, half) == pytest.approx(0.5)
    assert ece(np.full(100, 0.5), half) == pytest.approx(0)
    assert ece(np.full(100, 0.9, np.float32), half) == pytest.approx(0.4)


def test_a_bin_holds_its_upper_end():
    """As (0, 1/15], (1/15, 2/15], ... in the paper."""
    found = reliability(np.array([0.0, 0.2, 0.2 + 1e-9, 1.0]), np.ones(4, np.bool_))
    assert [each.count for each in found] == [1, 0, 1, 1, *[0] * 10, 1]
    assert found[2].confidence == pytest.approx(0.2)
    assert math.isnan(found[1].accuracy)
    assert (found[0].low, found[-1].high, len(found)) == (0, 1, 15)


def probabilities(samples: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(samples)
    probs = generator.dirichlet(np.ones(classes), samples)
    return probs, generator.integers(0, classes, samples)


def test_brier_and_nll_are_scikit_learns():
    probs, labels = probabilities(200, 7)
    own = probs[np.arange(200), labels]
    assert nll(own) == pytest.approx(log_loss(labels, probs, labels=list(range(7))))
    theirs = brier_score_loss(labels, probs, labels=list(range(7)), scale_by_half=False)  # pyright: ignore[reportArgumentType]
    assert mean(brier(probs, labels)) == pytest.approx(theirs)


def test_brier_of_a_sure_network():
    one_hot = np.eye(4)[[0, 1, 2]]
    assert brier(one_hot, np.array([0, 1, 3])).tolist() == [0, 0, 2]


def test_nothing_and_what_is_no_number():
    nothing = np.zeros(0)
    assert all(math.isnan(each) for each in (ece(nothing, nothing.astype(np.bool_)), mean(nothing), nll(nothing)))
    broken = np.array([0.9, math.nan])
    assert math.isnan(ece(broken, np.array([True, False])))
    assert math.isnan(nll(broken))
    assert sum(each.count for each in reliability(broken, np.array([True, False]))) == 1
    assert nll(np.zeros(3)) == pytest.approx(-math.log(1e-30))  # finite


def test_disagreement():
    predicted = np.array([[0, 1, 2, 3], [0, 1, 2, 4], [4, 4, 4, 4], [-1, 1, 2, 3]])
    assert disagreement(predicted).tolist() == [
        [0, 0.25, 1, 0.25],
        [0.25, 0, 0.75, 0.5],
        [1, 0.75, 0, 1],
        [0.25, 0.5, 1, 0],
    ]
    assert disagreement(predicted[:1]).tolist() == [[0]]
    assert np.isnan(disagreement(predicted[:, :0])).all()
