"""Classes have their exact share of every epoch, samples are shown evenly, and the order stays what it is."""

from collections import Counter
from dataclasses import replace
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform.config.checks import ConfigError
from platform.config.data import DataConfig
from platform.config.sampling import SamplingConfig
from platform.config.sections import Config
from platform.config.training import TrainingConfig
from platform.data.balance import Balance, largest_remainders, weights_of
from platform.data.dataset import ShardDataset
from platform.data.index import Index
from platform.data.labels import FOLDER, are_kept, labels_of
from platform.data.order import Order
from platform.data.train_loader import TrainLoader
from platform.data.training_order import training_order

NAMES = {"cat": 0, "dog": 1}


@st.composite
def balanced(draw: st.DrawFn) -> Order:
    """Orders of any shape over classes of any size."""
    streams = draw(st.integers(1, 6))
    batch_size = streams * draw(st.integers(1, 4))
    sizes = draw(st.lists(st.integers(0, 40), min_size=1, max_size=6).filter(lambda s: sum(s) >= batch_size))
    labels = np.array(draw(st.lists(st.integers(0, 4), min_size=sum(sizes), max_size=sum(sizes))))
    present = sorted(set(labels.tolist()))
    weights = {label: Fraction(draw(st.integers(1, 30)), 7) for label in present}
    seed = draw(st.integers(0, 2**64))
    shown = sum(sizes) // batch_size * batch_size
    shares = largest_remainders(shown, list(weights.values()))
    if min(shares) == 0:
        weights = dict.fromkeys(present, Fraction(1))
    if min(largest_remainders(shown, list(weights.values()))) == 0:  # fewer showings than classes
        labels, weights = np.zeros_like(labels), {0: Fraction(1)}
    balance = Balance(labels, weights, shown, seed)
    return Order(np.array(sizes), streams, batch_size, draw(st.integers(1, 70)), seed, balance)


def epoch_of(order: Order, epoch: int) -> np.ndarray:
    return np.concatenate([order.batch(epoch * order.steps_per_epoch + step) for step in range(order.steps_per_epoch)])


@pytest.mark.slow
@given(balanced(), st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_an_epoch_shows_every_class_exactly_as_often_as_it_is_due(order: Order, epoch: int) -> None:
    assert order.balance
    ids = epoch_of(order, epoch)
    assert len(ids) == order.balance.shown == order.steps_per_epoch * order.batch_size
    labels = order.balance.labels
    assert np.bincount(labels[ids], minlength=len(order.balance.due_K)).tolist() == order.balance.due_K.tolist()


@pytest.mark.slow
@given(balanced(), st.integers(0, 50), st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_samples_of_a_class_are_shown_equally_often_or_once_more(order: Order, first: int, epochs: int) -> None:
    """In an epoch, and over any number of them from the first on."""
    assert order.balance
    labels = order.balance.labels
    alone = np.bincount(epoch_of(order, first), minlength=len(labels))
    together = sum(np.bincount(epoch_of(order, epoch), minlength=len(labels)) for epoch in range(epochs))
    for counts in (alone, np.asarray(together)):
        for label in set(labels.tolist()):
            assert np.ptp(counts[labels == label]) <= 1


@pytest.mark.slow
@given(balanced(), st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_workers_together_see_the_global_batches_and_number_what_comes_again(order: Order, epoch: int) -> None:
    seen = []
    for step in range(epoch * order.steps_per_epoch, (epoch + 1) * order.steps_per_epoch):
        whole = order.showings(step)
        pairs = Counter(zip(whole.ids.tolist(), whole.showings.tolist(), strict=True))
        assert set(whole.epochs.tolist()) == {epoch}
        for world in range(1, order.streams + 1):
            shares = [order.showings(step, rank, world) for rank in range(world)]
            together = Counter(pair for share in shares for pair in zip(share.ids, share.showings, strict=True))
            assert together == pairs
        seen += pairs.elements()
    counts = Counter(sample for sample, _ in seen)
    assert sorted(seen) == sorted((sample, number) for sample in counts for number in range(counts[sample]))


@pytest.mark.slow
@given(balanced(), st.randoms(use_true_random=False))
@settings(max_examples=15, deadline=None)
def test_a_batch_depends_on_the_step_alone(order: Order, random: Any) -> None:
    steps = list(range(min(3 * order.steps_per_epoch, 30)))
    forwards = [order.batch(step) for step in steps]
    random.shuffle(steps)
    for step in steps:
        same = Order(order.sizes, order.streams, order.batch_size, order.block, order.seed, order.balance)
        np.testing.assert_array_equal(same.batch(step), forwards[step])


@given(balanced(), st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_what_is_read_ahead_holds_what_is_shown(order: Order, epoch: int) -> None:
    ends = np.cumsum(order.sizes)
    for stream in range(order.streams):
        for step in range(epoch * order.steps_per_epoch, (epoch + 1) * order.steps_per_epoch)[-4:]:
            block, end = order.block_at(step, stream), order.block_at(step + 1, stream)
            named = set(order.shards_of(block))
            while block != end:
                block = order.block_after(block)
                named |= set(order.shards_of(block))
            ids = order.batch(step, stream, order.streams)
            assert set(np.searchsorted(ends, ids, side="right").tolist()) <= named


@given(st.integers(0, 10**6), st.lists(st.integers(1, 10**6), min_size=1, max_size=30))
@settings(max_examples=50, deadline=None)
def test_a_division_is_less_than_one_from_the_exact_shares(total: int, weights: list[int]) -> None:
    found = largest_remainders(total, [Fraction(weight) for weight in weights])
    assert sum(found) == total
    assert all(
        abs(share - Fraction(total * weight, sum(weights))) < 1 for share, weight in zip(found, weights, strict=True)
    )


def test_weights_by_name_number_size_and_root() -> None:
    labels = np.repeat([0, 1, 3], [16, 4, 1])
    assert set(weights_of("balanced", labels, {}).values()) == {1}
    assert weights_of("sqrt", labels, {}) == {0: 4, 1: 2, 3: 1}
    assert weights_of({"dog": 2.5}, labels, NAMES) == weights_of({"1": 2.5}, labels, {}) == {0: 16, 1: 10, 3: 1}
    with pytest.raises(ConfigError, match=r"names the class cow, of which .*; the classes are cat, dog"):
        weights_of({"cow": 2}, labels, NAMES)
    with pytest.raises(ConfigError, match=r"names the class 2, of which .*; the classes are 0, 1, 3"):
        weights_of({"2": 2}, labels, {})
    with pytest.raises(ConfigError, match=r"no image of the class\(es\) 1 among the 40 of an epoch; raise"):
        Balance(np.array([0] * 40 + [1]), {0: Fraction(40), 1: Fraction(1, 10)}, 40, 0)


@pytest.mark.parametrize(
    ("balance", "said"),
    [
        ("equal", r"is 'equal'; give one of none, balanced, sqrt, or \{CLASS: WEIGHT"),
        ({}, r"is \{\}; give"),
        ({"3": 0}, r"\.3 is 0; give a weight above 0"),
        ({"3": "many"}, r"\.3 is many; give a weight"),
        (2, "is 2; give one of"),
    ],
)
def test_what_is_no_balance_is_refused(balance: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=rf"data\.balance{said}" if said[0] == "\\" else rf"data\.balance {said}"):
        DataConfig(balance=balance)


@pytest.fixture
def threes(digits_data: DataConfig) -> DataConfig:
    return replace(digits_data, balance={"3": 10})


def test_labels_are_read_from_the_shards_once(digits: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # storage.cache lies here
    split, seen = digits.split("train"), []
    assert not are_kept(split)
    labels = labels_of(split, lambda done, total: seen.append((done, total)))
    assert labels.tolist() == [split.read(sample).label for sample in range(split.samples)]
    assert seen == [(shard + 1, len(split.shards)) for shard in range(len(split.shards))]
    assert are_kept(split)
    assert labels_of(split, lambda *_: pytest.fail("read again")).tolist() == labels.tolist()
    assert not are_kept(digits.split("val"))
    (kept,) = (tmp_path / "data" / "cache" / FOLDER).iterdir()
    kept.write_bytes(kept.read_bytes()[:-4])  # torn: read anew
    assert labels_of(split).tolist() == labels.tolist()


def test_an_image_that_comes_again_in_its_epoch_is_another_crop(digits: Index, threes: DataConfig) -> None:
    split, sampling = digits.split("train"), SamplingConfig()
    order = training_order(Config(data=threes), split)
    rows: dict[int, set[float]] = {}
    with TrainLoader(split, order, threes, sampling) as loader:
        for batch in loader.steps(0, order.steps_per_epoch):
            for sample, row in zip(batch.ids_N.tolist(), batch.draws_ND[:, 0].tolist(), strict=True):
                assert row not in rows.setdefault(sample, set())
                rows[sample].add(row)
    labels, counts = labels_of(split), {sample: len(drawn) for sample, drawn in rows.items()}
    assert max(counts.values()) > 4
    assert all(counts[sample] == 1 for sample in counts if labels[sample] != 3)


def test_classes_have_their_shares_of_samples_that_are_repeated(digits: Index, threes: DataConfig) -> None:
    """11 steps of 16 images of a stream are 88 samples twice."""
    cfg = Config(data=threes, training=TrainingConfig(batch_size=8 * 16), sampling=SamplingConfig(repeats=2))
    order, labels = training_order(cfg, digits.split("train")), labels_of(digits.split("train"))
    assert order.balance
    for epoch in (0, 3):
        seen = Counter[tuple[int, int]]()
        for step in range(epoch * order.steps_per_epoch, (epoch + 1) * order.steps_per_epoch):
            found = order.showings(step)
            seen.update(zip(found.ids.tolist(), (found.showings // 2).tolist(), strict=True))
        assert set(seen.values()) == {2}
        of_classes = np.bincount([labels[sample] for sample, _ in seen.elements()])
        assert of_classes.tolist() == (2 * order.balance.due_K).tolist()


def test_any_number_of_ranks_goes_on_with_a_balanced_stream_from_its_one_integer(threes: DataConfig) -> None:
    def ids(rank: int, world: int, start: int) -> list[list[int]]:
        dataset = ShardDataset(threes, 64, rank=rank, world=world)
        dataset.step = start
        return [batch.ids_N.tolist() for batch in dataset]

    whole = ids(0, 1, 3)
    shares = [ids(rank, 3, 3) for rank in range(3)]
    assert [sorted(step) for step in whole] == [sorted(chain(*parts)) for parts in zip(*shares, strict=True)]
    assert ids(0, 1, 10) == whole[7:]


def test_without_a_balance_the_order_is_that_of_the_versions_before_there_were_any() -> None:
    order = Order(np.array([300, 300, 300, 300, 238]), 8, 32, 128, 12345)
    shown = order.showings(47)
    assert not shown.showings.any()
    assert set(shown.epochs.tolist()) == {1}
    ids = [order.batch(step)[::9].tolist() for step in (0, 44, 47, 91)]
    assert ids == [[1113, 337, 22, 675], [927, 90, 724, 450], [944, 95, 711, 472], [1095, 891, 1217, 126]]


def test_too_small_an_epoch_says_so_whatever_the_balance(digits: Index, digits_data: DataConfig) -> None:
    cfg = Config(data=replace(digits_data, balance="sqrt"), training=TrainingConfig(batch_size=2048))
    with pytest.raises(ConfigError, match=r"1438 samples, fewer than training\.batch_size \(2048\)"):
        training_order(cfg, digits.split("train"))
