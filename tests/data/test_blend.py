"""Data sets are blended exactly by weight, each in its own epochs, at any number of workers, from the step alone."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform.data.blend import PARTS, BlendedOrder, epochs_of, weights


@st.composite
def blends(draw: st.DrawFn) -> BlendedOrder:
    """Of two to four sets of any shape and weights."""
    streams = draw(st.integers(1, 9))
    sets = [
        np.array(draw(st.lists(st.integers(0, 30), min_size=1, max_size=4).filter(lambda s: sum(s) >= streams)))
        for _ in range(draw(st.integers(2, 4)))
    ]
    samples = sum(int(sizes.sum()) for sizes in sets)
    batch_size = streams * draw(st.integers(1, min(4, samples // streams)))
    others = draw(st.lists(st.integers(1, PARTS // 4), min_size=len(sets) - 1, max_size=len(sets) - 1))
    parts = weights([part / PARTS for part in others])
    return BlendedOrder(sets, parts, streams, batch_size, draw(st.integers(1, 40)), draw(st.integers(0, 2**64)))


def set_of(order: BlendedOrder, ids: np.ndarray) -> np.ndarray:
    return np.searchsorted(np.cumsum([each.samples for each in order.sets]), ids, side="right")


@pytest.mark.slow
@given(blends(), st.integers(0, 10**9))
@settings(max_examples=25, deadline=None)
def test_after_any_step_each_set_has_had_its_weight(order: BlendedOrder, step: int) -> None:
    """To half a sample where there are two of them, to less than one a stream where there are more."""
    shown = sum(order.shown(stream, np.array([step * order.per_stream]))[:, 0] for stream in range(order.streams))
    assert sum(np.asarray(shown).tolist()) == step * order.batch_size
    for count, parts in zip(np.asarray(shown).tolist(), order._parts, strict=True):
        off = abs(count * PARTS - parts * step * order.batch_size) / PARTS
        assert off <= 0.5 if len(order.sets) == 2 else off < max(order.streams, 2)


@pytest.mark.slow
@given(blends(), st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_batches_have_what_is_counted_and_are_the_same_at_any_number_of_workers(
    order: BlendedOrder, first: int
) -> None:
    for step in range(first, first + 3):
        whole = order.showings(step)
        assert len(whole.ids) == order.batch_size
        ends = np.array([step, step + 1]) * order.per_stream
        counted = sum(np.diff(order.shown(stream, ends))[:, 0] for stream in range(order.streams))
        assert np.bincount(set_of(order, whole.ids), minlength=len(order.sets)).tolist() == np.asarray(counted).tolist()
        for world in range(1, order.streams + 1):
            shares = [order.showings(step, rank, world) for rank in range(world)]
            for rank, share in enumerate(shares):
                assert len(share.ids) == order.per_stream * len(order.streams_of(rank, world))
            together = Counter(pair for share in shares for pair in zip(share.ids, share.epochs, strict=True))
            assert together == Counter(zip(whole.ids, whole.epochs, strict=True))


@pytest.mark.slow
@given(blends())
@settings(max_examples=20, deadline=None)
def test_no_sample_of_a_set_is_lost_or_seen_twice_in_its_epoch(order: BlendedOrder) -> None:
    steps = min(4 * order.steps_per_epoch, 60)
    seen = [order.showings(step) for step in range(steps)]
    ids, epochs = (np.concatenate([getattr(each, name) for each in seen]) for name in ("ids", "epochs"))
    assert not np.concatenate([each.showings for each in seen]).any()
    assert max(Counter(zip(ids.tolist(), epochs.tolist(), strict=True)).values()) == 1
    of_set = set_of(order, ids)
    for number, own in enumerate(order.sets):
        at = of_set == number
        shown = [
            int(order.shown(stream, np.array([steps * order.per_stream]))[number, 0]) for stream in range(order.streams)
        ]
        whole = min(shown) // (own.samples // order.streams)  # epochs that all streams have ended
        for epoch in range(whole):  # it leaves out fewer samples than there are streams
            assert (epochs[at] == epoch).sum() == own.samples // order.streams * order.streams


@pytest.mark.slow
@given(blends(), st.randoms(use_true_random=False))
@settings(max_examples=15, deadline=None)
def test_a_batch_depends_on_the_step_alone(order: BlendedOrder, random: Any) -> None:
    steps = list(range(min(3 * order.steps_per_epoch, 20)))
    forwards = [order.batch(step) for step in steps]
    random.shuffle(steps)
    sizes = [each.sizes for each in order.sets]
    for step in steps:
        same = BlendedOrder(sizes, order._parts, order.streams, order.batch_size, order.block, order.seed)
        np.testing.assert_array_equal(same.batch(step), forwards[step])


def one_by_one(order: BlendedOrder, step: int) -> list[tuple[int, int, int]]:
    """(id, epoch, showing) of a global batch: each place's set asked for one sample."""
    firsts, found = np.cumsum([0, *(each.samples for each in order.sets)]).tolist(), []
    for stream in range(order.streams):
        for place in range(step * order.per_stream, (step + 1) * order.per_stream):
            before, after = order.shown(stream, np.array([place, place + 1])).T.tolist()
            (number,) = [number for number, (had, has) in enumerate(zip(before, after, strict=True)) if had != has]
            one = order.sets[number].showings(before[number], stream, order.streams)
            found.append((one.ids.item() + firsts[number], one.epochs.item(), one.showings.item()))
    return found


@given(blends(), st.integers(0, 10**6))
@settings(max_examples=50, deadline=None)
def test_a_batch_is_what_the_sets_give_sample_by_sample(order: BlendedOrder, first: int) -> None:
    for step in range(first, first + 3):
        shown = order.showings(step)
        together = np.stack([shown.ids, shown.epochs, shown.showings], axis=1)
        assert list(map(tuple, together.tolist())) == one_by_one(order, step)


@given(blends(), st.integers(0, 10**4))
@settings(max_examples=20, deadline=None)
def test_what_is_read_ahead_holds_what_is_shown(order: BlendedOrder, first: int) -> None:
    ends = np.cumsum(order.sizes)
    for stream in range(order.streams):
        for step in range(first, first + 3):
            named: set[int] = set()
            for block, end in zip(order.blocks_at(step, stream), order.blocks_at(step + 1, stream), strict=True):
                named |= set(order.shards_of(block))
                while block != end:
                    block = order.block_after(block)
                    named |= set(order.shards_of(block))
            ids = order.batch(step, stream, order.streams)
            assert set(np.searchsorted(ends, ids, side="right").tolist()) <= named


def test_epochs_of_the_sets_follow_from_their_weights() -> None:
    assert weights([0.25, 0.05]) == [7000, 2500, 500]
    assert epochs_of([700, 500], [7000, 3000], 3000) == [3.0, 1.8]
