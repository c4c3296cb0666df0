"""The sentence at the top: it claims a winner only where the test does."""

import pytest

from platform.evaluation.metrics import Scores
from platform.evaluation.verdict import fewer_crops, verdict
from tests.evaluation.test_summary import N, results, summary


@pytest.mark.parametrize(
    ("best", "ensemble", "said"),
    [
        (
            range(20),
            range(8),
            "The ensemble of 2 is better than its best member a by 6.00 points of top-1 with 10 crops",
        ),
        (range(20), range(17), "The ensemble of 2 is not better than its best member a beyond noise: 1.50 points"),
        (range(20), range(22), "The ensemble of 2 is not better than its best member a: -1.00 points"),
        (range(20), range(40), "The ensemble of 2 is worse than its best member a: -10.00 points"),
        (range(20), range(20), "The ensemble of 2 is right on the same images as its best member a, with 10 crops."),
    ],
)
def test_the_ensemble_against_its_best_member(best: range, ensemble: range, said: str):
    text = verdict(summary(results({"b": range(60), "a": best}, ensemble)))
    assert text.startswith(said)
    assert "\n" not in text
    assert "Of the members a is best: 10.00% top-1 error, 30.00% of the next, b (p < 0.001)." in text
    if "points" in said:
        assert "95% CI " in text
        assert "exact McNemar p " in text


def test_a_member_that_is_ahead_was_chosen_among_several():
    """6 images, none the other way: p is 0.03, but the best of three was chosen by these images."""
    members = {"a": range(20), "b": range(60), "c": range(80)}
    text = verdict(summary(results(members, range(26))))
    assert "not better than its best member a: -3.00 points" in text
    assert "exact McNemar p = 0.031, corrected p = 0.094), which may be noise." in text
    ahead = verdict(summary(results(members, range(14))))
    assert "is better than its best member a by 3.00 points" in ahead
    assert "exact McNemar p = 0.031)." in ahead


def test_a_best_member_that_is_not_certain_is_called_so():
    text = verdict(summary(results({"a": range(20), "b": range(22)}, range(8))))
    assert text.endswith("Which member is best is not certain: a and b have 10.00% and 11.00% top-1 error (p = 0.50).")


def test_a_single_model_and_no_image():
    assert verdict(summary(results({"a": range(20)}, range(20)))) == (
        "Top-1 error 10.00% with 10 crops (95% CI 6.57 to 14.94%, 200 images)."
    )
    nothing = verdict(summary(results({"a": range(20), "b": range(20)}, range(20), corrupt=N)))
    assert nothing == "No image can be decoded, so that nothing can be said."


def test_fewer_crops_are_named_where_they_do_better():
    assert fewer_crops({1: Scores(50, 48), 10: Scores(50, 48), 144: Scores(50, 45)}, models=7) == (
        "With 1 crop the ensemble's top-1 error is lower (not tested): 4.00% instead of 10.00%, with 7 forward passes "
        "an image instead of 1,008."
    )
    assert fewer_crops({1: Scores(50, 45), 10: Scores(50, 45)}, models=1) == ""
    assert fewer_crops({1: Scores(0, 0), 10: Scores(0, 0)}, models=1) == ""
