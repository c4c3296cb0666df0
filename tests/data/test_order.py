"""The order deals no sample twice an epoch and the same global batches at any world size, from the step alone."""

import tracemalloc
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform.config.checks import ConfigError
from platform.data.index import Index
from platform.data.order import Order, Showings, evaluation_share, steps_of, total_steps


@st.composite
def orders(draw: st.DrawFn) -> Order:
    """Orders of any shape with at least one global batch in an epoch."""
    streams = draw(st.integers(1, 8))
    batch_size = streams * draw(st.integers(1, 5))
    sizes = draw(st.lists(st.integers(0, 60), min_size=1, max_size=8).filter(lambda s: sum(s) >= batch_size))
    return Order(np.array(sizes), streams, batch_size, draw(st.integers(1, 70)), draw(st.integers(-(2**63), 2**64)))


EPOCHS = st.integers(0, 1000)


def epoch_steps(order: Order, epoch: int) -> range:
    return range(epoch * order.steps_per_epoch, (epoch + 1) * order.steps_per_epoch)


@pytest.mark.slow
@given(orders(), EPOCHS)
@settings(max_examples=80, deadline=None)
def test_an_epoch_has_no_sample_twice_and_leaves_less_than_a_batch(order: Order, epoch: int) -> None:
    ids = np.concatenate([order.batch(step) for step in epoch_steps(order, epoch)])
    assert ids.dtype == np.int64
    assert len(np.unique(ids)) == len(ids)
    assert ids.min() >= 0
    assert ids.max() < order.samples
    assert 0 <= order.samples - len(ids) < order.batch_size


@pytest.mark.slow
@given(orders(), EPOCHS)
@settings(max_examples=60, deadline=None)
def test_the_ranks_share_the_same_global_batches_at_every_world_size(order: Order, epoch: int) -> None:
    for step in epoch_steps(order, epoch)[:6]:
        whole = set(order.batch(step).tolist())
        assert len(whole) == order.batch_size
        for world in range(1, order.streams + 1):
            shares = [order.batch(step, rank, world) for rank in range(world)]
            sizes = [len(share) for share in shares]
            assert sizes == sorted(sizes, reverse=True)
            assert sizes[0] - sizes[-1] == (order.per_stream if order.streams % world else 0)
            together = np.concatenate(shares).tolist()
            assert len(set(together)) == order.batch_size
            assert set(together) == whole


@pytest.mark.slow
@given(orders(), st.lists(st.tuples(st.integers(0, 40), st.integers(1, 8)), max_size=6))
@settings(max_examples=60, deadline=None)
def test_workers_that_come_and_go_between_steps_lose_and_repeat_nothing(
    order: Order, changes: list[tuple[int, int]]
) -> None:
    """(step, number of workers from there on), at most as many as there are streams."""
    worlds = dict(changes)
    world, seen = 1, []
    for step in range(2 * order.steps_per_epoch):
        world = min(worlds.get(step, world), order.streams)
        together = np.concatenate([order.batch(step, rank, world) for rank in range(world)])
        assert sorted(together) == sorted(order.batch(step))
        seen.append(together)
    for epoch in range(2):
        ids = np.concatenate([seen[step] for step in epoch_steps(order, epoch)])
        assert len(np.unique(ids)) == len(ids) > order.samples - order.batch_size


@pytest.mark.slow
@given(orders(), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_a_batch_depends_on_nothing_asked_before(order: Order, random) -> None:
    steps = list(range(min(3 * order.steps_per_epoch, 30)))
    forwards = [order.batch(step) for step in steps]
    random.shuffle(steps)
    for step in steps:
        same = Order(order.sizes, order.streams, order.batch_size, order.block, order.seed)
        np.testing.assert_array_equal(same.batch(step), forwards[step])


@given(orders(), EPOCHS)
@settings(max_examples=60, deadline=None)
def test_the_shards_of_the_blocks_on_the_way_hold_the_samples(order: Order, epoch: int) -> None:
    """What is fetched ahead is what will be read, from each stream's block at a step on to its block at the next."""
    ends = np.cumsum(order.sizes)
    for stream in range(order.streams):
        for step in epoch_steps(order, epoch)[-5:]:
            block, end = order.block_at(step, stream), order.block_at(step + 1, stream)
            named = set(order.shards_of(block))
            while block != end:
                block = order.block_after(block)
                named |= set(order.shards_of(block))
            ids = order.batch(step, stream, order.streams)
            assert set(np.searchsorted(ends, ids, side="right").tolist()) <= named
            assert all(order.sizes[shard] > 0 for shard in named)


def test_shards_of_a_block_that_goes_round_the_ring() -> None:
    one = Order(np.array([50, 0, 50]), 1, 10, 4096, 3)
    assert sorted(one.shards_of(one.block_at(0, 0))) == [0, 2]


def test_planning_100_000_shards_takes_little_memory_and_seeks_anywhere() -> None:
    tracemalloc.start()
    order = Order(np.full(100_000, 12_800), 64, 4096, 4096, 0)
    for step in (0, 312_499, 17, 5 * order.steps_per_epoch + 99_999):
        ids = order.batch(step, 3, 8)
        assert len(set(ids.tolist())) == 512
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert order.samples == 1_280_000_000
    assert peak < 200e6


@pytest.mark.parametrize("block", [1, 7, 4096])
def test_epochs_and_seeds_give_different_orders(block: int) -> None:
    orders = [Order(np.array((97, 150, 103, 60, 88)), 4, 16, block, seed) for seed in (0, 1, -1, 2**63)]
    batches = [order.batch(epoch * order.steps_per_epoch).tolist() for order in orders for epoch in range(4)]
    assert len({tuple(sorted(batch)) for batch in batches}) == len(batches)


def test_a_batch_mixes_streams_and_a_stream_is_shuffled() -> None:
    order = Order(np.array([100] * 10), 4, 40, 250, 0)
    ids = order.batch(0)
    assert len(set((ids // 100).tolist())) > 5
    stream = order.batch(0, 0, 4)
    assert (np.diff(np.sort(stream)) > 1).any()
    assert not np.array_equal(stream, np.sort(stream))


def test_every_block_of_every_stream_and_seed_is_shuffled_in_its_own_way() -> None:
    shuffles = []
    for seed in (0, 1):
        order = Order(np.array([6400]), 2, 32, 16, seed)
        for step in range(2 * order.steps_per_epoch):
            shuffles += [order.batch(step, rank, 2) for rank in range(2)]  # each a whole block
    patterns = {tuple((ids - ids.min()).tolist()) for ids in shuffles}
    assert len(patterns) == len(shuffles) == 1600


@pytest.mark.parametrize("sizes", [(43,), (20, 23), (11, 9, 12, 11)])
@pytest.mark.parametrize("block", [1, 4, 4096])
def test_what_an_epoch_leaves_out_comes_in_others(sizes: tuple[int, ...], block: int) -> None:
    order = Order(np.array(sizes), 8, 16, block, 0)
    seen = {int(i) for step in range(60 * order.steps_per_epoch) for i in order.batch(step)}
    assert seen == set(range(43))


def test_fewer_samples_than_a_batch_are_refused_with_the_numbers(digits: Index) -> None:
    split = digits.split("val")
    with pytest.raises(ConfigError, match=rf"{split.samples} samples.*training.batch_size.*\(512\)"):
        Order.of(split, 8, 512, 64, 0)
    assert Order.of(split, 8, split.samples // 8 * 8, 64, 0).steps_per_epoch == 1


def test_the_order_of_a_split_is_that_of_its_shard_sizes(digits: Index) -> None:
    split = digits.split("train")
    order = Order.of(split, 8, 32, 128, 5)
    assert order.sizes.tolist() == [shard.samples for shard in split.shards]
    assert len(order.sizes) > 2
    assert order.samples == split.samples
    assert order.steps_per_epoch == split.samples // 8 // 4


@given(st.integers(0, 5000), st.integers(1, 64))
@settings(max_examples=100, deadline=None)
def test_evaluation_shares_are_every_sample_once_and_of_like_size(samples: int, world: int) -> None:
    shares = [evaluation_share(samples, rank, world) for rank in range(world)]
    assert [i for share in shares for i in share] == list(range(samples))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize(
    ("epochs", "per_epoch", "steps"),
    [
        (0.07, 100, 7),  # floats make 7.000000000000001 of it
        (0.57, 100, 57),
        (1.1, 50, 55),
        (0.0701, 100, 8),
        (2.5, 179, 448),
        (1e-6, 100, 1),
        (12 / 37, 37, 12),  # a quotient, whose digits end somewhere
        (90, 40_036, 3_603_240),
    ],
)
def test_epochs_are_turned_into_steps_as_they_were_typed(epochs: float, per_epoch: int, steps: int) -> None:
    assert total_steps(epochs, per_epoch) == steps


@given(st.integers(1, 10**5), st.integers(0, 4), st.integers(1, 10**5))
def test_durations_are_decimals_and_not_floats(digits: int, places: int, per_epoch: int) -> None:
    assert steps_of(digits / 10**places, per_epoch) == Fraction(digits * per_epoch, 10**places)


@given(st.integers(1, 10**7), st.integers(1, 10**7))
def test_a_quotient_of_steps_is_so_many_steps(steps: int, per_epoch: int) -> None:
    assert total_steps(steps / per_epoch, per_epoch) == steps


def shown_of(showings: Showings) -> list[tuple[int, int]]:
    return list(zip(showings.ids.tolist(), showings.showings.tolist(), strict=True))


@pytest.mark.parametrize("repeats", [2, 3])
def test_repeated_samples_come_in_a_row_and_once_more_each_time(repeats: int) -> None:
    """Whatever cuts them: steps, or any number of workers; with a share of the samples in as many steps."""
    sizes = np.array([130, 70, 100])
    order = Order(sizes, 4, 16, 20, 7, repeats=repeats)
    assert order.steps_per_epoch == Order(sizes, 4, 16, 20, 7).steps_per_epoch
    for epoch in (0, 1):
        steps = range(epoch * order.steps_per_epoch, (epoch + 1) * order.steps_per_epoch)
        seen = Counter[tuple[int, int]]()
        for step in steps:
            seen.update(shown_of(order.showings(step)))
        assert set(seen.values()) == {1}
        shown = Counter(sample for sample, _ in seen)
        assert sum(1 for times in shown.values() if times < repeats) <= 4  # the last of each stream
        assert len(shown) <= -(-4 * order.per_stream * order.steps_per_epoch // repeats) + 4
    whole = set(shown_of(order.showings(5)))
    parts = [set(shown_of(order.showings(5, r, 3))) for r in range(3)]
    assert set.union(*parts) == whole
    assert sum(map(len, parts)) == len(whole) == 16
