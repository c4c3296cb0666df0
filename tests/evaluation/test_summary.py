"""The summary of how sure scores are, on results made by hand: every figure can be counted."""

import json
import math
from dataclasses import asdict

import numpy as np
import pytest

from platform.evaluation.images import ImageResults
from platform.evaluation.metrics import Scores
from platform.evaluation.statistics.intervals import wilson
from platform.evaluation.statistics.paired import mcnemar
from platform.evaluation.summary import Summary

N = 200


def results(wrong: dict[str, range], ensemble: range, corrupt: int = 0, without: dict[str, range] | None = None):
    """Members that are right but for some images, where they say class 1 for class 0."""
    valid = np.arange(N) >= corrupt
    images = ImageResults(list(wrong), [1, 10], np.zeros(N, np.int32), valid)
    for number, images_wrong in enumerate([*wrong.values(), ensemble]):
        is_wrong = np.isin(np.arange(N), images_wrong)
        images.predicted_EN[number] = is_wrong
        images.rank_EN[number] = is_wrong
        images.confidence_EN[number] = 0.8
        images.label_probability_EN[number] = np.where(is_wrong, 0.2, 0.8)
        images.brier_EN[number] = np.where(is_wrong, 1.28, 0.08)
    for number, images_wrong in enumerate((without or {}).values()):
        images.without_MN[number] = np.isin(np.arange(N), images_wrong)
    images.hits_CN[:] = len(wrong) - images.predicted_EN[:-1].sum(0)
    images.predicted_EN[:, ~valid], images.rank_EN[:, ~valid] = -1, 9
    return images


def summary(images: ImageResults) -> Summary:
    """With scores of the ensemble and of an alternative that have nothing to do with the images."""
    return Summary.of(images, {1: Scores(50, 40), 10: Scores(50, 45)}, {"another": Scores(50, 30)})


MEMBERS = {"good": range(10), "worse": range(5, 25), "worst": range(100, 140)}
WITHOUT = {"good": range(30), "worse": range(9), "worst": range(2)}


def test_every_row_of_the_table_has_an_interval():
    found = summary(results(MEMBERS, range(8)))
    assert found.ensemble_errors == {1: wilson(10, 50), 10: wilson(5, 50)}
    assert found.alternative_errors == {"another": wilson(20, 50)}
    assert set(found.mean_errors) == {1, 10}


def test_members_are_ranked_with_their_intervals():
    found = summary(results(MEMBERS, range(8), without=WITHOUT))
    assert (found.ranking, found.best) == (["good", "worse", "worst"], "good")
    assert [found.members[name].wrong for name in found.ranking] == [10, 20, 40]
    for each in (*found.members.values(), found.ensemble):
        assert each.interval == wilson(each.wrong, N)
        assert each.interval.low < each.error < each.interval.high
    assert found.members["worst"].ece == pytest.approx(0, abs=1e-6)  # 80% sure, 80% right
    assert found.members["good"].ece == pytest.approx(0.15)
    assert found.members["good"].brier == pytest.approx(0.05 * 1.28 + 0.95 * 0.08)
    assert found.members["good"].nll == pytest.approx(-0.05 * math.log(0.2) - 0.95 * math.log(0.8))
    assert found.disagreement == [[0, 0.1, 0.25], [0.1, 0, 0.3], [0.25, 0.3, 0]]


def test_neighbours_are_tested_and_corrected_together():
    found = summary(results(MEMBERS, range(8), without=WITHOUT))
    first, second = found.neighbours
    assert (first.first, first.second, second.first, second.second) == (15, 5, 40, 20)
    assert (first.p, second.p) == (mcnemar(15, 5), mcnemar(40, 20))
    assert (first.p_holm, second.p_holm) == (pytest.approx(first.p), pytest.approx(2 * second.p))


def test_the_ensemble_is_compared_with_its_best_and_with_itself_without_each():
    found = summary(results(MEMBERS, range(8), without=WITHOUT))
    best = found.against_best
    assert best is not None
    assert (best.first, best.second, best.difference) == (2, 0, pytest.approx(0.01))
    assert not best.is_significant
    assert {name: round(each.difference, 9) for name, each in found.gains.items()} == {
        "good": 0.11, "worse": 0.005, "worst": -0.03,
    }  # fmt: skip
    assert [each.is_significant for each in found.gains.values()] == [True, False, False]
    assert found.gains["worst"].p < 0.05  # by itself it would be


def test_the_mean_of_members_varies_less_than_a_member():
    """Over images: three members that answer alike have one member's interval, not a third of it."""
    alike = {name: range(20) for name in "abc"}
    one = summary(results({"a": range(20)}, range(20)))
    assert one.mean_errors[1] == wilson(20, N)
    same = summary(results(alike, range(20))).mean_errors[10]
    assert same.high - same.low == pytest.approx(one.mean_errors[10].high - one.mean_errors[10].low, rel=0.15)
    apart = {"a": range(20), "b": range(40, 60), "c": range(80, 100)}
    other = summary(results(apart, range(20))).mean_errors[10]
    assert other.high - other.low < 0.7 * (same.high - same.low)


def test_corrupt_images_are_in_no_figure():
    found = summary(results(MEMBERS, range(8), corrupt=5))
    assert (found.members["good"].samples, found.members["good"].wrong) == (195, 5)
    assert found.disagreement[0][1] == pytest.approx(20 / 195 - 5 / 195 + 0 / 195)


@pytest.mark.parametrize("corrupt", [N, N - 1])
def test_of_no_image_and_of_one(corrupt: int):
    found = summary(results(MEMBERS, range(8), corrupt=corrupt))
    assert found.ensemble.samples == N - corrupt
    assert found.against_best is not None
    assert found.against_best.p == 1
    assert math.isnan(found.mean_errors[1].low)
    assert math.isnan(found.ensemble.error) == (corrupt == N)
    assert Summary.of_json(json.loads(json.dumps(asdict(found)))).ranking == found.ranking


def test_one_member_has_nothing_to_be_compared_with():
    found = summary(results({"only": range(10)}, range(10)))
    assert (found.neighbours, found.against_best, found.gains, found.disagreement) == ([], None, {}, [[0]])


def test_json_and_back():
    found = summary(results(MEMBERS, range(8), without=WITHOUT))
    content = json.loads(json.dumps(asdict(found)))
    assert Summary.of_json(content) == found
    content["members"]["good"]["ece"] = "low"
    with pytest.raises(ValueError, match="figures"):
        Summary.of_json(content)
