"""Images change their size at the exact step, whatever is decoded ahead; samples, crops and draws do not."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from platform.config.checks import ConfigError
from platform.config.data import DataConfig
from platform.config.sampling import SamplingConfig
from platform.config.sections import Config
from platform.config.training import TrainingConfig
from platform.data.batch import Batch
from platform.data.image_sizes import ImageSizes
from platform.data.index import Index
from platform.data.order import Order
from platform.data.train_loader import TrainLoader


def test_sizes_begin_at_the_first_step_that_is_not_before_their_share() -> None:
    sizes = ImageSizes.of([[0, 160], [0.5, 192], [0.8, 224]], 288, 7)
    assert [sizes.at(step) for step in range(7)] == [160] * 4 + [192] * 2 + [224]
    assert sizes.text() == "160 px, 192 px from step 4, 224 px from step 6"
    assert ImageSizes.of([[0, 16], [0.07, 32]], 32, 100).starts == (0, 7)  # a decimal, where floats say 8


def test_without_a_schedule_all_images_are_as_in_testing() -> None:
    sizes = ImageSizes.of([], 96, 10)
    assert {sizes.at(step) for step in (0, 9, 10**9)} == {96}
    assert sizes.work(96, 10) == 1


@given(st.lists(st.integers(1, 99), unique=True, max_size=5), st.integers(1, 500))
def test_the_work_is_that_of_all_steps(percents: list[int], last_step: int) -> None:
    shares = [0.0, *(percent / 100 for percent in sorted(percents))]
    sizes = ImageSizes.of([[share, 32.0 + place] for place, share in enumerate(shares)], 64, last_step)
    assert all(start <= later for start, later in pairwise(sizes.starts))
    pixels = sum(sizes.at(step) ** 2 for step in range(last_step))
    assert sizes.work(64, last_step) == pytest.approx(pixels / (last_step * 64**2))


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ([[0.1, 160]], r"begins at \[0\.1\] of the run; give \[\[0,PIXELS\]"),
        ([[0, 160], [1, 224]], r"has the shares \[0, 1\]; give .* below 1"),
        ([[0, 160], [0.5, 192], [0.5, 224]], r"has the shares .* rise from 0"),
        ([[0, 160], [0.5]], r"is \[\[0, 160\], \[0\.5\]\]; give"),
        ([160], r"is \[160\]; give"),
        ([[0, "160"]], r"is \[\[0, '160'\]\]; give"),
        ([[0, 16]], r"has 16 pixels; give a whole number from 32 on"),
        ([[0, 160.5]], r"has 160\.5 pixels"),
        ([[0, 160], [0.5, 160]], r"has 160 pixels from 0\.5 on and before it; leave one"),
    ],
)
def test_what_is_no_schedule_is_refused(sizes: list[Any], said: str) -> None:
    with pytest.raises(ConfigError, match=rf"training\.sizes {said}"):
        TrainingConfig(sizes=sizes)


def test_images_larger_than_the_packed_ones_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"training\.sizes has 288 px, more than data\.shorter_side \(256\)"):
        Config(data=DataConfig(shorter_side=256, image_size=224), training=TrainingConfig(sizes=[[0, 288]]))


def _batches(index: Index, data: DataConfig, sizes: ImageSizes | None, start: int, prefetch: int) -> list[Batch]:
    split = index.split("train")
    sampling = SamplingConfig(interpolation="random")
    with TrainLoader(split, Order.of(split, 4, 8, 64, 7), data, sampling, prefetch=prefetch, sizes=sizes) as loader:
        return list(loader.steps(start, 8))


@pytest.mark.parametrize(("start", "prefetch"), [(0, 1), (0, 20), (3, 2), (5, 4)])
def test_batches_change_their_shape_at_the_step_and_nothing_else(
    digits: Index, digits_data: DataConfig, start: int, prefetch: int
) -> None:
    sizes = ImageSizes.of([[0, 48], [0.5, 32]], 32, 8)
    changing = _batches(digits, digits_data, sizes, start, prefetch)
    alike = _batches(digits, digits_data, None, start, prefetch)
    assert [len(batch.images[0]) for batch in changing] == [48] * max(4 - start, 0) + [32] * min(4, 8 - start)
    for batch, other in zip(changing, alike, strict=True):
        assert torch.equal(batch.ids_N, other.ids_N)
        assert torch.equal(batch.mirrored_N, other.mirrored_N)
        np.testing.assert_array_equal(batch.draws_ND, other.draws_ND)
        if batch.images.shape == other.images.shape:
            assert torch.equal(batch.images, other.images)
