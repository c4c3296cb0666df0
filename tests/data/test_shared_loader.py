"""Members with one order get the bits that loaders of their own would give them, from one decode of each image."""

import io
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from platform.config.data import DataConfig
from platform.config.sampling import SamplingConfig
from platform.data import decode
from platform.data.batch import Batch
from platform.data.decode import Box
from platform.data.image_sizes import ImageSizes
from platform.data.index import Index, Split, read_index
from platform.data.order import Order
from platform.data.sampling import DRAWS
from platform.data.shared_loader import MemberDraws, SharedLoader, inside, pays, union
from platform.data.train_loader import TrainLoader
from tests.data.handmade import MakeShards

pytestmark = pytest.mark.timeout(60)

SAMPLINGS = (
    SamplingConfig(),
    SamplingConfig(interpolation="random"),
    SamplingConfig(method="random_square", mirror=False),
    SamplingConfig(area=[0.01, 0.03]),
)


def members_of(count: int) -> list[MemberDraws]:
    return [MemberDraws(SAMPLINGS[n % len(SAMPLINGS)], 100 + n, DRAWS - 5 * (n % 2)) for n in range(count)]


def own(split: Split, order: Order, data: DataConfig, member: MemberDraws, steps: range, **options: Any) -> list[Batch]:
    """The batches of a loader of the member's own."""
    settings: dict[str, Any] = {"draw_count": member.draw_count, "draw_seed": member.seed} | options
    with TrainLoader(split, order, data, member.sampling, **settings) as loader:
        return list(loader.steps(steps.start, steps.stop))


def assert_as_alone(
    split: Split, order: Order, data: DataConfig, members: list[MemberDraws], steps: range, **options: Any
) -> None:
    with SharedLoader(split, order, data, members, threads=2, prefetch=3, **options) as loader:
        shared = list(loader.member_steps(steps.start, steps.stop))
    assert len(shared) == len(steps)
    for number, member in enumerate(members):
        for ours, theirs in zip(
            [step[number] for step in shared], own(split, order, data, member, steps, **options), strict=True
        ):
            for name in ("images", "labels_N", "ids_N", "valid_N", "mirrored_N", "colour_draws_N8", "dropout_keys_N"):
                assert torch.equal(getattr(ours, name), getattr(theirs, name)), name
            np.testing.assert_array_equal(ours.draws_ND, theirs.draws_ND)
            np.testing.assert_array_equal(ours.step_draws, theirs.step_draws)
            assert (ours.per_stream, ours.repeats) == (theirs.per_stream, theirs.repeats)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory, photos: list[bytes]) -> list[bytes]:
    """JPEGs of several shapes and samplings, with and without restart markers, a grey one and a PNG."""
    images = [Image.open(io.BytesIO(photo)).convert("RGB") for photo in photos]
    made = []
    for number in range(10):
        image = images[number % 2].crop((13 * number, 0, 320 + 9 * number, 230 + 17 * number))
        buffer = io.BytesIO()
        if number == 8:
            image.convert("L").save(buffer, "JPEG")
        elif number == 9:
            image.save(buffer, "PNG")
        else:
            markers = {"restart_marker_blocks": 2} if number % 2 else {}
            image.save(buffer, "JPEG", quality=92, subsampling=number % 3, **markers)
        made.append(buffer.getvalue())
    return made


def packed(make_shards: MakeShards, images: list[bytes]) -> Split:
    files = {}
    for number, content in enumerate(images):
        extension = "png" if content[:4] == b"\x89PNG" else "jpg"
        files |= {f"{number:03d}.{extension}": content, f"{number:03d}.cls": str(number % 3).encode()}
    return read_index(str(make_shards(files))).split("train")


@pytest.mark.parametrize("count", [1, 2, 7])
def test_each_member_gets_the_bits_of_a_loader_of_its_own(
    make_shards: MakeShards, photographs: list[bytes], count: int
) -> None:
    split = packed(make_shards, photographs)
    data = DataConfig(classes=3, image_size=64)
    assert_as_alone(split, Order.of(split, 1, 5, 64, 7), data, members_of(count), range(1, 5))


def test_sizes_ranks_and_repeats_are_those_of_the_order(digits: Index, digits_data: DataConfig) -> None:
    split = digits.split("train")
    order = Order.of(split, 4, 16, 64, 7, repeats=2)
    sizes = ImageSizes.of([[0, 32], [0.5, 40]], 40, 8)
    for rank in (0, 2):
        assert_as_alone(split, order, digits_data, members_of(3), range(2, 7), rank=rank, world=3, sizes=sizes)


def test_members_with_one_order_see_the_same_images_in_other_crops(digits: Index, digits_data: DataConfig) -> None:
    split = digits.split("train")
    same = [MemberDraws(SamplingConfig(), seed) for seed in (1, 2)]
    with SharedLoader(split, Order.of(split, 4, 16, 64, 7), digits_data, same) as loader:
        (first, second), *_ = loader.member_steps(0, 3)
    assert torch.equal(first.ids_N, second.ids_N)
    assert not torch.equal(first.images, second.images)
    assert not np.array_equal(first.step_draws, second.step_draws)


def test_corrupt_images_are_replaced_for_all_and_counted_once(
    make_shards: MakeShards, photographs: list[bytes]
) -> None:
    torn = [photographs[0][: len(photographs[0]) * 6 // 10], photographs[1][: len(photographs[1]) * 8 // 10]]
    split = packed(make_shards, [b"none", *photographs[2:6], torn[0], *photographs[6:], torn[1]])
    data = DataConfig(classes=3, image_size=48, max_corrupt=3)
    order = Order.of(split, 1, split.samples, 64, 7)
    members = [*members_of(6), MemberDraws(SamplingConfig(area=[0.01, 0.02]), 5)]
    for epoch in range(3):
        assert_as_alone(split, order, data, members, range(epoch, epoch + 1))
    with SharedLoader(split, order, data, members) as loader:
        list(loader.member_steps(0, 1))
        assert loader.corrupt.count == 3


def test_an_image_is_decoded_once_for_seven_members(
    make_shards: MakeShards, photographs: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    split = packed(make_shards, photographs)
    decoded: list[Box | None] = []
    as_ever = decode.EncodedImage.decode

    def counted(image: decode.EncodedImage, box: Box | None = None) -> Any:
        decoded.append(box)
        return as_ever(image, box)

    monkeypatch.setattr(decode.EncodedImage, "decode", counted)
    members = [MemberDraws(SamplingConfig(), seed) for seed in range(7)]
    with SharedLoader(split, Order.of(split, 1, 10, 64, 7), DataConfig(classes=3), members) as loader:
        list(loader.member_steps(0, 2))
    assert len(decoded) == 20


def boxes(draw: st.DrawFn, width: int, height: int) -> Box:
    left, top = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    return Box(left, top, draw(st.integers(left + 1, width)), draw(st.integers(top + 1, height)))


@given(data=st.data(), count=st.integers(1, 7))
@settings(max_examples=50, deadline=None)
def test_the_union_has_every_box_and_no_more(data: st.DataObject, count: int) -> None:
    found = [data.draw(st.composite(boxes)(40, 30)) for _ in range(count)]
    around = union(found)
    image = np.arange(30 * 40 * 3, dtype=np.int64).reshape(30, 40, 3).astype(np.uint8)
    pixels = image[around.top : around.bottom, around.left : around.right]
    for box in found:
        np.testing.assert_array_equal(inside(pixels, around, box), image[box.top : box.bottom, box.left : box.right])
    assert around.left in [box.left for box in found]
    assert around.bottom in [box.bottom for box in found]


def test_two_small_crops_far_apart_are_decoded_apart_and_large_ones_together() -> None:
    apart = [Box(0, 0, 50, 40), Box(450, 335, 500, 375)]
    assert not pays(apart, union(apart), 500)
    together = [Box(0, 0, 300, 300), Box(200, 75, 500, 375)]
    assert pays(together, union(together), 500)
    assert pays(apart[:1], apart[0], 500)
    assert pays(apart * 4, union(apart), 500)  # at the fourth time all down to the bottom, once is faster
