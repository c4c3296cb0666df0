"""Missed, repeated and re-batched samples are counted rightly, whatever became of the epoch."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from platform.bench.rivals.exactness import Exactness, compare

BATCHES = st.lists(st.lists(st.integers(0, 30), max_size=6), max_size=8)


@st.composite
def epochs(draw: st.DrawFn) -> list[list[int]]:
    """An epoch in which each sample comes once."""
    batch, count = draw(st.integers(1, 5)), draw(st.integers(1, 30))
    order = draw(st.permutations(range(count)))
    return [order[start : start + batch] for start in range(0, count, batch)]


@settings(deadline=None)
@given(epochs(), st.integers())
def test_the_same_batches_in_any_order_are_exact(epoch: list[list[int]], seed: int):
    shuffled = [random.Random(seed).sample(batch, len(batch)) for batch in epoch]
    random.Random(seed).shuffle(shuffled)
    assert compare(epoch, shuffled) == Exactness(sum(map(len, epoch)), 0, 0, 0)
    assert compare(epoch, shuffled).exact


@settings(deadline=None)
@given(epochs(), st.data())
def test_a_batch_left_out_is_missed(epoch: list[list[int]], data: st.DataObject):
    gone = data.draw(st.integers(0, len(epoch) - 1))
    found = compare(epoch, epoch[:gone] + epoch[gone + 1 :])
    assert (found.missed, found.repeated, found.rebatched) == (len(epoch[gone]), 0, 0)
    assert not found.exact


@settings(deadline=None)
@given(epochs(), st.data())
def test_an_epoch_that_starts_anew_repeats_what_was_trained(epoch: list[list[int]], data: st.DataObject):
    done = data.draw(st.integers(0, len(epoch)))
    found = compare(epoch, epoch[:done] + epoch)
    assert (found.missed, found.repeated, found.rebatched) == (0, sum(map(len, epoch[:done])), 0)


@settings(deadline=None)
@given(epochs(), st.data())
def test_a_sample_that_changes_its_batch_takes_both_batches_with_it(epoch: list[list[int]], data: st.DataObject):
    if len(epoch) < 2:
        return
    one, other = data.draw(st.permutations(range(len(epoch))))[:2]
    swapped = [list(batch) for batch in epoch]
    swapped[one][0], swapped[other][0] = epoch[other][0], epoch[one][0]
    found = compare(epoch, swapped)
    alone = len(epoch[one]) == len(epoch[other]) == 1  # they only change places
    assert found.rebatched == (0 if alone else len(epoch[one]) + len(epoch[other]))
    assert (found.missed, found.repeated) == (0, 0)


@settings(deadline=None)
@given(BATCHES, BATCHES)
def test_every_sample_due_is_kept_rebatched_or_missed(due: list[list[int]], done: list[list[int]]):
    found = compare(due, done)
    counts = (found.kept, found.rebatched, found.missed, found.repeated)
    assert min(counts) >= 0
    assert found.kept + found.rebatched + found.missed == sum(map(len, due))
    assert found.kept + found.rebatched + found.repeated == sum(map(len, done))


def test_a_sample_that_was_never_due_is_counted_as_repeated():
    assert compare([[1, 2]], [[1, 2], [9]]) == Exactness(2, 0, 0, 1)


def test_a_batch_split_in_two_is_rebatched():
    assert compare([[1, 2, 3, 4]], [[1, 2], [3, 4]]) == Exactness(0, 4, 0, 0)
