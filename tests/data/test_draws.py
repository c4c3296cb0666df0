"""Draws are uniform, and a function of (seed, epoch, sample, showing) alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from platform.data import draws

INTEGERS = st.integers(-(2**63), 2**64)
EPOCHS = st.integers(0, 2**31)


@given(INTEGERS, EPOCHS, st.lists(st.integers(0, 2**40), min_size=1, max_size=30), st.integers(1, 40))
@settings(max_examples=50, deadline=None)
def test_a_sample_draws_the_same_in_whatever_company_it_is_read(
    seed: int, epoch: int, ids: list[int], count: int
) -> None:
    together = draws.uniforms(seed, epoch, np.array(ids), count)
    assert together.shape == (len(ids), count)
    assert ((together >= 0) & (together < 1)).all()
    for place, sample in enumerate(ids):
        np.testing.assert_array_equal(draws.uniforms(seed, epoch, np.array([sample]), count)[0], together[place])


@given(INTEGERS, EPOCHS, st.integers(1, 30))
@settings(max_examples=30, deadline=None)
def test_asking_for_fewer_draws_gives_the_first_of_them(seed: int, epoch: int, count: int) -> None:
    ids = np.arange(5)
    many = draws.uniforms(seed, epoch, ids, 40)
    np.testing.assert_array_equal(draws.uniforms(seed, epoch, ids, count), many[:, :count])


@pytest.mark.parametrize(("seed", "epoch"), [(1, 0), (0, 1), (-1, 0), (2**63, 0)])
def test_another_seed_or_epoch_draws_others(seed: int, epoch: int) -> None:
    ids = np.arange(1000)
    assert (draws.uniforms(0, 0, ids, 8) != draws.uniforms(seed, epoch, ids, 8)).all()


@given(INTEGERS, st.lists(st.tuples(EPOCHS, st.integers(0, 2**40), st.integers(0, 5)), min_size=1, max_size=30))
@settings(max_examples=50, deadline=None)
def test_each_sample_has_an_epoch_and_a_showing_of_its_own(seed: int, samples: list[tuple[int, int, int]]) -> None:
    epochs, ids, showings = (np.array(column) for column in zip(*samples, strict=True))
    together = draws.uniforms(seed, epochs, ids, 7, showings)
    for place, (epoch, sample, showing) in enumerate(samples):
        alone = draws.uniforms(seed, epoch, np.array([sample]), 7, showing)
        np.testing.assert_array_equal(alone[0], together[place])
    first = draws.uniforms(seed, epochs, ids, 7)
    assert ((together == first).all(1) == (showings == 0)).all()  # the first showing draws what there was before


def test_showings_of_a_sample_are_uncorrelated() -> None:
    ids = np.arange(20_000)
    values = np.column_stack([draws.uniforms(0, 3, ids, 1, showing) for showing in range(5)])
    values = np.column_stack([values, draws.uniforms(0, 3, ids + 1, 1)])  # nor with those of the next sample
    assert np.abs(np.corrcoef(values.T) - np.eye(6)).max() < 0.035
    for column in values.T:
        assert stats.kstest(column, "uniform").pvalue > 1e-4


def test_seed_and_epoch_are_not_interchangeable() -> None:
    ids = np.arange(100)
    assert (draws.uniforms(3, 5, ids, 4) != draws.uniforms(5, 3, ids, 4)).all()


@pytest.mark.parametrize(("seed", "epoch"), [(0, 0), (7, 0), (7, 90)])
def test_draws_of_consecutive_samples_are_uniform_and_uncorrelated(seed: int, epoch: int) -> None:
    values = draws.uniforms(seed, epoch, np.arange(20_000), 4)
    for column in values.T:
        assert stats.kstest(column, "uniform").pvalue > 1e-4
    neighbours = np.column_stack([values[:-1], values[1:]])
    correlations = np.asarray(np.corrcoef(neighbours.T)) - np.eye(8)
    assert np.abs(correlations).max() < 0.035  # five standard deviations of 20,000 independent pairs


def test_draws_of_consecutive_epochs_are_uncorrelated() -> None:
    values = np.column_stack([draws.uniforms(0, epoch, np.arange(20_000), 1) for epoch in range(5)])
    assert np.abs(np.corrcoef(values.T) - np.eye(5)).max() < 0.035


def test_the_mixing_is_splitmix64() -> None:
    """The published first outputs of the generator seeded with 0."""
    assert draws.key(0) == 0xE220A8397B1DCDAF
    state = np.arange(3, dtype=np.uint64) * draws._GAMMA
    assert [hex(int(x)) for x in draws._mix(state)] == ["0xe220a8397b1dcdaf", "0x6e789e6aa1b965f4", "0x6c45d188009454f"]


@given(st.lists(INTEGERS, min_size=1, max_size=4))
@settings(max_examples=50, deadline=None)
def test_a_key_is_a_pure_64_bit_number(parts: list[int]) -> None:
    assert 0 <= draws.key(*parts) < 2**64
    assert draws.key(*parts) == draws.key(*parts)
    assert draws.key(*parts) != draws.key(*parts, 0)


def test_keys_of_small_numbers_never_collide() -> None:
    parts = [(a, b, c) for a in range(20) for b in range(20) for c in range(20)]
    assert len({draws.key(*p) for p in parts}) == len(parts)
