"""Crops lie inside the image, are distributed as the methods say, and follow from the draws."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike
from scipy import stats
from torchvision.transforms import RandomResizedCrop

from platform.config.choices import SAMPLING_METHODS
from platform.config.data import DataConfig
from platform.config.sampling import INTERPOLATIONS, SamplingConfig
from platform.config.transforms import TransformsConfig
from platform.data import draws as draws_module
from platform.data.sampling import (
    BOX_DRAWS,
    COLOUR_DRAWS,
    DRAWS,
    DROPOUT_DRAW,
    ERASING_DRAWS,
    INTERPOLATION,
    INTERPOLATION_CHOICES,
    LEFT,
    MIRROR,
    MIXING_DRAWS,
    OPERATION_DRAWS,
    TOP,
    Crop,
    area_range,
    crop,
    draws_used,
)

LARGEST_DRAW = 1 - 2**-53
SIDES = st.integers(1, 2000)
UNIFORM = st.floats(0, LARGEST_DRAW)


def crops(sampling: SamplingConfig, count: int, width: int = 500, height: int = 375) -> list[Crop]:
    rows = draws_module.uniforms(0, 0, np.arange(count), DRAWS).tolist()
    return [crop(sampling, DataConfig(), width, height, row) for row in rows]


def same_distribution(ours: ArrayLike, theirs: ArrayLike) -> float:
    """Kolmogorov and Smirnov's p."""
    return stats.ks_2samp(ours, theirs).pvalue  # pyright: ignore[reportAttributeAccessIssue]


def uniformly_distributed(values: ArrayLike) -> float:
    """Kolmogorov and Smirnov's p that these are uniform in 0..1."""
    return stats.kstest(values, "uniform").pvalue  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.slow
@pytest.mark.parametrize("method", SAMPLING_METHODS)
@given(
    width=SIDES,
    height=SIDES,
    draws=st.lists(UNIFORM, min_size=DRAWS, max_size=DRAWS),
    areas=st.tuples(st.floats(0.001, 1), st.floats(0.001, 1)),
    aspects=st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)),
    min_crop_area=st.floats(0.001, 1),
)
@example(500, 375, [0.5] * DRAWS, (0.01, 0.05), (1.0, 1.0), 0.02)
@example(1, 1, [LARGEST_DRAW] * DRAWS, (1.0, 1.0), (1.0, 1.0), 1.0)
@example(1, 2000, [LARGEST_DRAW] * DRAWS, (0.001, 1.0), (10.0, 10.0), 0.001)
@settings(max_examples=100, deadline=None)
def test_boxes_lie_inside_the_image_and_are_not_empty(
    method: str,
    width: int,
    height: int,
    draws: list[float],
    areas: tuple[float, float],
    aspects: tuple[float, float],
    min_crop_area: float,
) -> None:
    sampling = SamplingConfig(method=method, area=sorted(areas), aspect=sorted(aspects))
    box = crop(sampling, DataConfig(min_crop_area=min_crop_area), width, height, draws).box
    assert 0 <= box.left < box.right <= width
    assert 0 <= box.top < box.bottom <= height


def test_places_of_the_draws_do_not_overlap() -> None:
    several = (BOX_DRAWS, COLOUR_DRAWS, MIXING_DRAWS, OPERATION_DRAWS, ERASING_DRAWS)
    places = [place for each in several for place in range(DRAWS)[each]]
    assert sorted([*places, LEFT, TOP, MIRROR, INTERPOLATION, DROPOUT_DRAW]) == list(range(DRAWS))
    assert len(range(DRAWS)[COLOUR_DRAWS]) == 8


RECORDED = {  # places -> draws of sample 3 in epoch 2 with the seed 7, from when every sample had all 81
    0: "0x1.2463d0e169b04p-2",
    DROPOUT_DRAW: "0x1.3b8e9ac222a57p-1",
    MIXING_DRAWS.start: "0x1.f550821f75876p-1",
    ERASING_DRAWS.start: "0x1.7418c252c76e7p-1",
    DRAWS - 1: "0x1.9ecee25382f22p-2",
}


@pytest.mark.parametrize(
    ("transforms", "count"),
    [
        (TransformsConfig(), 33),
        (TransformsConfig(mixup_alpha=0.2), 38),
        (TransformsConfig("trivial"), 58),
        (TransformsConfig("rand", cutmix_alpha=1.0), 58),
        (TransformsConfig(erase_probability=0.1), 81),
    ],
    ids=["nothing", "mixup", "trivial", "rand and cutmix", "erasing"],
)
def test_of_the_draws_only_those_are_made_that_are_used_and_they_stay_as_they_were(
    transforms: TransformsConfig, count: int
) -> None:
    assert draws_used(transforms) == count
    (row,) = draws_module.uniforms(7, 2, np.array([3]), count)
    assert {place: row[place].hex() for place in RECORDED if place < count} == {
        place: value for place, value in RECORDED.items() if place < count
    }


def test_area_is_uniform_and_aspect_log_uniform_where_every_box_fits() -> None:
    """Up to half of 500x375 every aspect fits, so that nothing is rejected."""
    boxes = [c.box for c in crops(SamplingConfig(area=[0.08, 0.5]), 5000)]
    heights, widths = np.array([box.size for box in boxes]).T
    areas = widths * heights / (500 * 375)
    low, high = area_range(SamplingConfig(area=[0.08, 0.5]), DataConfig())
    assert (low, high) == pytest.approx((0.08, 0.5))
    assert uniformly_distributed((areas - low) / (high - low)) > 1e-3
    logs = np.log(widths / heights) / np.log(4 / 3)
    assert uniformly_distributed((logs + 1) / 2) > 1e-3
    assert abs(np.corrcoef(areas, logs)[0, 1]) < 0.06


@pytest.mark.slow
@pytest.mark.parametrize(("width", "height"), [(500, 375), (375, 500), (400, 90)])
def test_crops_are_distributed_as_torchvisions(width: int, height: int) -> None:
    ours = np.array([(c.box.left, c.box.top, *c.box.size) for c in crops(SamplingConfig(), 3000, width, height)])
    image = torch.empty(3, height, width)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        parameters = [RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(3000)]
    theirs = np.array([(left, top, h, w) for top, left, h, w in parameters])
    for place in range(4):
        assert same_distribution(ours[:, place], theirs[:, place]) > 1e-3
    assert same_distribution(ours[:, 2] * ours[:, 3], theirs[:, 2] * theirs[:, 3]) > 1e-3
    assert same_distribution(ours[:, 3] / ours[:, 2], theirs[:, 3] / theirs[:, 2]) > 1e-3


def test_areas_cover_8_to_100_percent_and_aspects_3_4_to_4_3() -> None:
    heights, widths = np.array([c.box.size for c in crops(SamplingConfig(), 4000)]).T
    areas, aspects = widths * heights / (500 * 375), widths / heights
    assert 0.078 < areas.min() < 0.09
    assert 0.97 < areas.max() <= 1
    assert 0.74 < aspects.min() < 0.76
    assert 1.32 < aspects.max() < 1.35


def test_aspect_is_width_over_height() -> None:
    heights, widths = np.array([c.box.size for c in crops(SamplingConfig(area=[0.1, 0.3], aspect=[1.5, 2.0]), 300)]).T
    assert (widths / heights > 1.45).all()
    assert (widths / heights < 2.05).all()


def test_places_are_uniform_and_touch_every_border() -> None:
    boxes = [c.box for c in crops(SamplingConfig(area=[0.08, 0.5]), 4000)]
    for position, room in (
        ([b.left for b in boxes], [500 - b.size[1] for b in boxes]),
        ([b.top for b in boxes], [375 - b.size[0] for b in boxes]),
    ):
        share = (np.array(position) + 0.5) / (np.array(room) + 1)
        assert uniformly_distributed(share) > 1e-3
        assert 0 in position
        assert (np.array(position) == np.array(room)).any()


def test_an_image_too_long_for_any_aspect_gives_its_largest_centred_box() -> None:
    box = crop(SamplingConfig(), DataConfig(), 2000, 30, [LARGEST_DRAW] * DRAWS).box
    assert box.size == (30, 40)
    assert (box.left, box.top) == (980, 0)
    box = crop(SamplingConfig(), DataConfig(), 30, 2000, [LARGEST_DRAW] * DRAWS).box
    assert box.size == (40, 30)
    assert (box.left, box.top) == (0, 980)


@pytest.mark.parametrize("min_crop_area", [0.01, 0.08, 0.25, 0.6, 1.0])
def test_min_crop_area_is_what_8_percent_becomes(min_crop_area: float) -> None:
    data = DataConfig(min_crop_area=min_crop_area)
    assert area_range(SamplingConfig(), data) == pytest.approx((min_crop_area, 1))
    low, high = area_range(SamplingConfig(area=[0.54, 1.0]), data)  # half way from 8% to all
    assert low == pytest.approx((1 + min_crop_area) / 2)
    assert high == pytest.approx(1)


@pytest.mark.parametrize("area", [[0.001, 0.002], [0.01, 0.05], [0.3, 0.3], [0.001, 1.0], [1.0, 1.0]])
def test_areas_stay_as_they_are_at_8_percent_and_in_order_and_positive_at_any(area: list[float]) -> None:
    assert area_range(SamplingConfig(area=area), DataConfig()) == pytest.approx(tuple(area))
    for min_crop_area in (0.001, 0.01, 0.05, 0.5, 1.0):
        low, high = area_range(SamplingConfig(area=area), DataConfig(min_crop_area=min_crop_area))
        assert 0 < low <= high <= 1


def test_crops_of_a_data_set_are_no_smaller_than_its_min_crop_area() -> None:
    rows = draws_module.uniforms(0, 0, np.arange(1000), DRAWS).tolist()
    boxes = [crop(SamplingConfig(), DataConfig(min_crop_area=0.4), 320, 320, row).box for row in rows]
    areas = [box.size[0] * box.size[1] / 320**2 for box in boxes]
    assert 0.39 < min(areas) < 0.43


@pytest.mark.parametrize("method", SAMPLING_METHODS)
def test_half_of_the_samples_are_mirrored_or_none(method: str) -> None:
    mirrored = sum(c.mirrored for c in crops(SamplingConfig(method=method), 4000))
    assert abs(mirrored - 2000) < 160  # five standard deviations
    assert not any(c.mirrored for c in crops(SamplingConfig(method=method, mirror=False), 200))


@pytest.mark.parametrize("method", SAMPLING_METHODS)
def test_random_interpolation_takes_each_of_four_equally_often(method: str) -> None:
    chosen = [c.interpolation for c in crops(SamplingConfig(method=method, interpolation="random"), 4000)]
    assert set(chosen) == set(INTERPOLATION_CHOICES) == set(INTERPOLATIONS) - {"random"}
    for name in INTERPOLATION_CHOICES:
        assert abs(chosen.count(name) - 1000) < 140  # five standard deviations


@pytest.mark.parametrize("interpolation", INTERPOLATION_CHOICES)
def test_a_chosen_interpolation_is_kept(interpolation: str) -> None:
    assert {c.interpolation for c in crops(SamplingConfig(interpolation=interpolation), 50)} == {interpolation}


def test_mirroring_and_interpolation_do_not_depend_on_the_box() -> None:
    sampled = crops(SamplingConfig(interpolation="random"), 4000)
    areas = np.array([c.box.size[0] * c.box.size[1] for c in sampled], float)
    assert abs(np.corrcoef(areas, [c.mirrored for c in sampled])[0, 1]) < 0.08
    assert abs(np.corrcoef(areas, [c.interpolation == "area" for c in sampled])[0, 1]) < 0.08


@pytest.mark.parametrize(("width", "height", "side"), [(500, 375, 328), (256, 256, 224), (256, 900, 224), (32, 40, 28)])
def test_the_square_methods_take_224_of_256_of_the_shorter_side(width: int, height: int, side: int) -> None:
    for method in ("random_square", "centre_square"):
        assert {c.box.size for c in crops(SamplingConfig(method=method), 50, width, height)} == {(side, side)}


def test_a_random_square_lies_anywhere_and_a_centre_square_in_the_middle() -> None:
    boxes = [c.box for c in crops(SamplingConfig(method="random_square"), 6000, 256, 300)]
    assert {b.left for b in boxes} == set(range(33))
    assert {b.top for b in boxes} == set(range(77))
    centred = {c.box for c in crops(SamplingConfig(method="centre_square"), 50, 256, 300)}
    assert [(b.left, b.top, b.right, b.bottom) for b in centred] == [(16, 38, 240, 262)]
