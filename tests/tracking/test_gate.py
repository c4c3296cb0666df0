"""The gate: the alias champion moves only by a difference beyond noise on the same images."""

from dataclasses import replace

import numpy as np
import pytest

from platform.evaluation.images import ImageResults
from platform.evaluation.statistics.paired import mcnemar
from platform.tracking.gate import CHALLENGER, CHAMPION, Contender, decide

N = 100


def images(wrong: range, views: int = 10, corrupt: tuple[int, ...] = ()) -> ImageResults:
    """Of one network, wrong on some images with `views`, and right on all with fewer."""
    numbers = np.arange(N)
    found = ImageResults(["m"], [1, 10][: 1 + (views == 10)], np.zeros(N, np.int32), ~np.isin(numbers, corrupt))
    found.rank_EN[:] = np.where(np.isin(numbers, wrong) | np.isin(numbers, corrupt), 1, 0)
    found.right_CN[:] = 1
    found.right_CN[-1] = found.right_EN[-1]
    found.right_CN[:, list(corrupt)] = -1
    return found


def contender(label: str, wrong: range, data: str = "same", **more) -> Contender:
    return Contender(label, images(wrong, **more), data)


def test_without_a_champion_the_newcomer_is_it_and_that_nothing_was_compared_is_said():
    found = decide(contender("new", range(50)), None, [])
    assert (found.alias, found.p) == (CHAMPION, None)
    assert "nothing to compare it with" in found.said


@pytest.mark.parametrize(
    ("new", "alias", "said"),
    [
        (
            range(12, 13),
            CHAMPION,
            "new is better than the champion old by 10.00 points of top-1 with 10 crops",
        ),
        (range(8, 18), CHALLENGER, "new is not better than the champion old beyond noise: 1.00 points"),
        (range(40), CHALLENGER, "new is worse than the champion old: -29.00 points"),
        (range(11), CHALLENGER, "new is right on the same images as the champion old"),
    ],
)
def test_only_the_better_one_moves_the_alias(new: range, alias: str, said: str):
    found = decide(contender("new", new), contender("old", range(11)), [])
    assert found.alias == alias
    assert found.said.startswith(said)
    assert "On 100 images that both could read." in found.said


def test_p_is_corrected_for_others_that_were_compared_with_the_same_champion():
    new, old = contender("new", range(0)), contender("old", range(6))
    assert decide(new, old, []).alias == CHAMPION
    found = decide(new, old, [0.9, 0.7])
    assert (found.alias, found.p) == (CHALLENGER, mcnemar(6, 0))  # three times 0.031
    assert (
        "corrected p = 0.094). On 100 images that both could read; p is corrected (Holm) for 2 other versions"
        in found.said
    )


def test_images_that_one_could_not_read_do_not_count():
    found = decide(contender("new", range(12, 13), corrupt=(0, 1, 2)), contender("old", range(11)), [])
    assert found.p == mcnemar(8, 1)


def test_the_largest_number_of_crops_that_both_have_is_compared():
    found = decide(contender("new", range(0), views=1), contender("old", range(11)), [])
    assert "with 1 crop" in found.said  # with which the champion is right on all
    assert found.alias == CHALLENGER


@pytest.mark.parametrize(
    ("champion", "said"),
    [
        (contender("old", range(50), data="other"), "the validation images are others (other there, same here)"),
        (Contender("old", None, missing="its file is gone"), "the champion old: its file is gone"),
        (contender("old", range(0), corrupt=tuple(range(N))), "no image that both could read"),
    ],
)
def test_what_cannot_be_compared_moves_nothing(champion: Contender, said: str):
    found = decide(contender("new", range(0)), champion, [])
    assert (found.alias, found.p) == (CHALLENGER, None)
    assert said in found.said


def test_other_labels_or_no_common_number_of_crops_are_no_comparison():
    old = images(range(50))
    old.labels_N = old.labels_N + 1
    assert "labels" in decide(contender("new", range(0)), Contender("old", old), []).said
    old = images(range(50))
    old.right_CN[0] = -1  # as of an earlier version's file
    found = decide(contender("new", range(0), views=1), Contender("old", old), [])
    assert "no number of crops in common (10 there, 1 here)" in found.said
    assert found.alias == CHALLENGER
    assert decide(contender("new", range(0)), replace(contender("old", range(50)), data=""), []).alias == CHAMPION
