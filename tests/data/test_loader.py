"""Batches are the same however they are fetched; corrupt images are replaced, and limited; nothing hangs."""

import logging
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from platform.config.data import DataConfig
from platform.config.sampling import SamplingConfig
from platform.config.transforms import TransformsConfig
from platform.data.batch import Batch
from platform.data.cache import ShardError
from platform.data.decode import EncodedImage
from platform.data.draws import uniforms
from platform.data.index import Index, Split, read_index
from platform.data.inputs import BatchInputs
from platform.data.loader import Loader
from platform.data.order import Order
from platform.data.pixels import Pixels
from platform.data.resize import resize
from platform.data.sampling import DRAWS, crop, draws_used
from platform.data.train_loader import TrainLoader
from tests.data.handmade import MakeShards

pytestmark = pytest.mark.timeout(60)  # a hang fails

SAMPLING = SamplingConfig(interpolation="random")


def train_loader(split: Split, data: DataConfig, *, streams: int = 4, batch: int = 16, **options: Any) -> TrainLoader:
    return TrainLoader(split, Order.of(split, streams, batch, 64, 7), data, SAMPLING, **options)


def load(split: Split, data: DataConfig, start: int, stop: int, **options: Any) -> list[Batch]:
    loader = train_loader(split, data, **options)
    with loader:
        return list(loader.steps(start, stop))


def assert_same(ours: list[Batch], theirs: list[Batch]) -> None:
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        for name in ("images", "labels_N", "ids_N", "valid_N", "mirrored_N", "colour_draws_N8"):
            assert torch.equal(getattr(a, name), getattr(b, name)), name
        np.testing.assert_array_equal(a.draws_ND, b.draws_ND)


@pytest.fixture(scope="module")
def whole(digits: Index, digits_data: DataConfig) -> list[Batch]:
    """The first 12 batches, decoded by one thread."""
    return load(digits.split("train"), digits_data, 0, 12, threads=1, prefetch=1)


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("prefetch", [1, 3, 20])
def test_threads_and_prefetch_do_not_change_the_batches(
    digits: Index, digits_data: DataConfig, whole: list[Batch], threads: int, prefetch: int
) -> None:
    assert_same(load(digits.split("train"), digits_data, 0, 12, threads=threads, prefetch=prefetch), whole)


@pytest.mark.slow
def test_a_start_in_the_middle_is_the_tail_of_the_whole_run(digits: Index, digits_data: DataConfig) -> None:
    split = digits.split("val")
    steps = Order.of(split, 4, 64, 64, 7).steps_per_epoch
    run = load(split, digits_data, 0, 2 * steps + 3, batch=64, threads=2)
    for start in (1, steps, steps + 2):
        assert_same(load(split, digits_data, start, 2 * steps + 3, batch=64, threads=2), run[start:])


def test_ranks_read_parts_of_the_same_global_batches(
    digits: Index, digits_data: DataConfig, whole: list[Batch]
) -> None:
    for world in (2, 3, 4):
        ranks = [load(digits.split("train"), digits_data, 0, 12, rank=rank, world=world) for rank in range(world)]
        for step, batch in enumerate(whole):
            ids = torch.cat([rank[step].ids_N for rank in ranks])
            images = torch.cat([rank[step].images for rank in ranks])
            mirrored = torch.cat([rank[step].mirrored_N for rank in ranks])
            ours, theirs = ids.argsort(), batch.ids_N.argsort()
            assert torch.equal(ids[ours], batch.ids_N[theirs])
            assert torch.equal(images[ours], batch.images[theirs])
            assert torch.equal(mirrored[ours], batch.mirrored_N[theirs])


def test_a_batch_is_the_crops_of_its_samples(digits: Index, digits_data: DataConfig, whole: list[Batch]) -> None:
    reader = digits.split("train")
    for batch in whole[:3]:
        assert batch.valid_N.all()
        np.testing.assert_array_equal(batch.draws_ND, uniforms(7, 0, batch.ids_N.numpy(), DRAWS))
        for n, sample_id in enumerate(batch.ids_N.tolist()):
            sample = reader.read(sample_id)
            image = EncodedImage(sample.image)
            view = crop(SAMPLING, digits_data, image.width, image.height, batch.draws_ND[n].tolist())
            assert torch.equal(batch.images[n], resize(image.decode(view.box), (32, 32), view.interpolation))
            assert batch.labels_N[n] == sample.label
            assert batch.mirrored_N[n] == view.mirrored


@pytest.mark.parametrize(
    "transforms",
    [
        TransformsConfig(),
        TransformsConfig(mixup_alpha=0.2, cutmix_alpha=1.0),
        TransformsConfig(cutmix_alpha=1.0, mixing_per="sample"),
        TransformsConfig("rand", rand_ops=4, rand_std=0.5),
        TransformsConfig("trivial", mixup_alpha=0.2, erase_probability=0.5),
    ],
    ids=["nothing", "both per batch", "cutmix per sample", "rand", "all"],
)
def test_draws_that_are_not_used_change_nothing(
    digits: Index, digits_data: DataConfig, transforms: TransformsConfig
) -> None:
    split, sampling = digits.split("train"), replace(SAMPLING, photometric=True)
    order, shown = Order.of(split, 4, 16, 64, 7), []
    for count in (DRAWS, draws_used(transforms)):
        with TrainLoader(split, order, digits_data, sampling, draw_count=count) as loader:
            (batch,) = loader.steps(2, 3)
        assert batch.draws_ND.shape == (16, count)
        given = BatchInputs(batch, Pixels(digits_data, torch.device("cpu")), sampling, transforms)
        part = given.part(slice(0, 16))
        shown.append((part.images, part.targets(10), batch.dropout_keys_N))
    for all_drawn, as_used in zip(*shown, strict=True):
        assert torch.equal(all_drawn, as_used)


def test_a_sample_is_cropped_anew_in_every_epoch(digits: Index, digits_data: DataConfig) -> None:
    split = digits.split("val")
    steps = Order.of(split, 4, 64, 64, 7).steps_per_epoch
    boxes: dict[int, set[float]] = {}
    for batch in load(split, digits_data, 0, 3 * steps, batch=64, threads=2):
        for sample_id, row in zip(batch.ids_N.tolist(), batch.draws_ND, strict=True):
            assert row[0] not in boxes.setdefault(sample_id, set())
            boxes[sample_id].add(row[0])
    assert max(map(len, boxes.values())) == 3


def test_colour_draws_stay_below_1_in_single_precision() -> None:
    """The largest draw rounds to 1, which as an order or a logarithm's argument would be out of range."""
    batch = Batch(*(torch.zeros(1) for _ in range(5)), draws_ND=np.full((1, DRAWS), 1 - 2**-53))
    assert batch.colour_draws_N8.dtype == torch.float32
    assert batch.colour_draws_N8.shape == (1, 8)
    assert batch.colour_draws_N8.min() > 0.999999
    assert batch.colour_draws_N8.max() < 1


CORRUPT = {3: b"", 10: b"\xff\xd8 no photograph", 17: b"junk"}
TAKES_THE_PLACE_OF = {3: 4, 10: 11, 17: 18, 21: 22}  # which of `corrupt_split`


def members(jpegs: list[bytes], count: int, replaced: dict[int, bytes] | None = None) -> dict[str, bytes]:
    """Samples of one shard, labels 0, 1, 2 in turn."""
    shard: dict[str, bytes] = {}
    for i in range(count):
        shard[f"{i:03d}.jpg"] = (replaced or {}).get(i, jpegs[i % len(jpegs)])
        shard[f"{i:03d}.cls"] = str(i % 3).encode()
    return shard


@pytest.fixture
def corrupt_split(make_shards: MakeShards, small_jpegs: list[bytes]) -> Split:
    """24 samples; 3, 10 and 17 have no readable header and 21 is torn."""
    torn = {21: small_jpegs[0][: len(small_jpegs[0]) // 2]}
    return read_index(make_shards(members(small_jpegs, 24, CORRUPT | torn))).split("train")


@pytest.mark.parametrize("threads", [1, 3])
def test_the_next_image_takes_the_place_of_a_corrupt_one_which_is_counted_and_named(
    corrupt_split: Split, caplog: pytest.LogCaptureFixture, threads: int
) -> None:
    data = DataConfig(classes=3, max_corrupt=4)
    loader = train_loader(corrupt_split, data, batch=24, streams=1, threads=threads)
    with caplog.at_level(logging.WARNING, "platform.data"), loader:
        (batch,) = loader.steps(0, 1)
    assert batch.valid_N.all()
    assert sorted(batch.ids_N.tolist()) == sorted(TAKES_THE_PLACE_OF.get(place, place) for place in range(24))
    assert torch.equal(batch.labels_N, batch.ids_N % 3)
    assert batch.images.flatten(1).any(1).all()
    assert loader.corrupt.count == 4
    for key, other in TAKES_THE_PLACE_OF.items():
        assert re.search(rf"corrupt sample skipped: {key:03d}: .*; {other:03d} takes its place\n", caplog.text)


def test_the_same_image_takes_the_place_at_any_number_of_workers(corrupt_split: Split) -> None:
    data = DataConfig(classes=3, max_corrupt=4)
    (alone,) = load(corrupt_split, data, 0, 1, batch=24)
    shares = [load(corrupt_split, data, 0, 1, batch=24, rank=rank, world=3)[0] for rank in range(3)]
    together = torch.cat([share.ids_N for share in shares])
    assert sorted(together.tolist()) == sorted(alone.ids_N.tolist())
    images = {tuple(image.flatten().tolist()) for share in shares for image in share.images}
    assert images == {tuple(image.flatten().tolist()) for image in alone.images}


def test_a_place_is_taken_across_corrupt_neighbours_and_the_end_of_the_index(
    make_shards: MakeShards, small_jpegs: list[bytes]
) -> None:
    last_six = dict.fromkeys(range(18, 24), b"junk")
    split = read_index(make_shards(members(small_jpegs, 24, last_six))).split("train")
    (batch,) = load(split, DataConfig(classes=3, max_corrupt=6), 0, 1, batch=24, streams=1)
    assert sorted(batch.ids_N.tolist()) == [0] * 7 + list(range(1, 18))
    assert torch.equal(batch.labels_N, batch.ids_N % 3)


def test_a_split_of_corrupt_images_alone_raises(make_shards: MakeShards, small_jpegs: list[bytes]) -> None:
    split = read_index(make_shards(members(small_jpegs, 24, dict.fromkeys(range(24), b"junk")))).split("train")
    with pytest.raises(ShardError, match=r"sample 0.. cannot be decoded .*none of the next 23 .*max_corrupt=99"):
        load(split, DataConfig(classes=3, max_corrupt=99), 0, 1, batch=24, streams=1)


@pytest.mark.parametrize("threads", [1, 3])
def test_more_corrupt_images_than_the_limit_raise_with_it(corrupt_split: Split, threads: int) -> None:
    data = DataConfig(classes=3, max_corrupt=3)
    with pytest.raises(
        ShardError, match=r"4 corrupt samples, more than data.max_corrupt=3; the last: 0.*raise the limit"
    ):
        load(corrupt_split, data, 0, 6, batch=4, streams=1, threads=threads)


def test_the_limit_of_corrupt_images_is_for_each_pass(corrupt_split: Split) -> None:
    data = DataConfig(classes=3, max_corrupt=4)
    loader = train_loader(corrupt_split, data, batch=8, streams=1, threads=2, prefetch=5)
    with loader:
        batches = list(loader.steps(1, 12))
    assert sum(int((batch.ids_N == 22).sum()) for batch in batches) >= 6  # its own turn, and 21's
    assert loader.corrupt.count == 4


@pytest.mark.parametrize("label", [b"3", b"-1"])
def test_an_impossible_label_raises(make_shards: MakeShards, small_jpegs: list[bytes], label: bytes) -> None:
    folder = make_shards(members(small_jpegs, 12) | {"005.cls": label})
    split = read_index(folder).split("train")
    with pytest.raises(ShardError, match=rf"sample 005 has the label {label.decode()}, but data.classes is 3; set"):
        load(split, DataConfig(classes=3), 0, 1, batch=12, streams=1, threads=2)


def test_a_shard_that_vanishes_raises(make_shards: MakeShards, small_jpegs: list[bytes]) -> None:
    folder = make_shards(members(small_jpegs, 12), members(small_jpegs, 12))
    split = read_index(folder).split("train")
    (folder / "train-000001.tar").unlink()
    with pytest.raises(ShardError, match=rf"shard {folder}/train-000001.tar cannot be read"):
        load(split, DataConfig(classes=3), 0, 6, batch=4, streams=4, threads=2)


def test_a_shard_torn_after_it_was_checked_raises(make_shards: MakeShards, small_jpegs: list[bytes]) -> None:
    folder = make_shards(members(small_jpegs, 12))
    split = read_index(folder).split("train")
    path = folder / "train-000000.tar"
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(ShardError, match=r"train-000000.tar"):
        load(split, DataConfig(classes=3), 0, 1, batch=12, streams=1, threads=2)


def test_an_error_of_the_renderer_is_raised(corrupt_split: Split) -> None:
    def render(batch: Batch, place: int, image: EncodedImage) -> None:
        raise RuntimeError(f"cannot render {place}")

    with (
        Loader(corrupt_split, (1,), render, classes=3, threads=2, prefetch=2, max_corrupt=100) as loader,
        pytest.raises(RuntimeError, match="cannot render 0"),
    ):
        list(loader.batches(loader.request(np.array([i])) for i in range(8)))


def decoding_threads() -> int:
    return sum(thread.name.startswith("decode") for thread in threading.enumerate())


def test_closing_with_batches_pending_ends_the_threads(digits: Index, digits_data: DataConfig) -> None:
    before = decoding_threads()
    loader = train_loader(digits.split("train"), digits_data, threads=4, prefetch=50)
    batches = loader.steps(0, 80)
    next(batches)
    assert decoding_threads() == before + 4
    loader.close()
    assert decoding_threads() == before
    with pytest.raises((RuntimeError, CancelledError)):
        list(batches)


def test_closing_does_not_decode_what_is_still_pending(corrupt_split: Split) -> None:
    rendered: list[int] = []

    def render(batch: Batch, place: int, image: EncodedImage) -> None:
        time.sleep(0.01)
        rendered.append(place)

    loader = Loader(corrupt_split, (1,), render, classes=3, threads=1, prefetch=200, max_corrupt=0)
    with loader:
        next(loader.batches(loader.request(np.array([0])) for _ in range(201)))
    assert 1 <= len(rendered) < 201


def test_an_error_of_the_reader_of_batches_ends_the_threads(digits: Index, digits_data: DataConfig) -> None:
    before = decoding_threads()

    def fail() -> None:
        loader = train_loader(digits.split("train"), digits_data, threads=3, prefetch=30)
        with loader:
            for batch in loader.steps(0, 60):
                raise KeyError(batch.ids_N[0])

    with pytest.raises(KeyError):
        fail()
    assert decoding_threads() == before


def test_no_more_batches_are_begun_than_the_prefetch(corrupt_split: Split) -> None:
    begun: list[int] = []

    def requests(loader: Loader) -> Iterator[Batch]:
        for i in range(20):
            begun.append(i)
            yield loader.request(np.array([0]))

    def render(batch: Batch, place: int, image: EncodedImage) -> None:
        batch.images[place] = 1

    with Loader(corrupt_split, (2,), render, classes=3, threads=1, prefetch=3, max_corrupt=0) as loader:
        batches = loader.batches(requests(loader))
        assert begun == []
        next(batches)
        assert len(begun) == 4
        assert len(list(batches)) == 19


def test_evaluation_batches_hold_the_shape_asked_for(corrupt_split: Split) -> None:
    def render(batch: Batch, place: int, image: EncodedImage) -> None:
        batch.images[place, 0] = resize(image.decode(), (8, 8))
        batch.images[place, 1] = 0

    with Loader(corrupt_split, (2, 8, 8, 3), render, classes=3, threads=2, prefetch=2, max_corrupt=4) as loader:
        batches = list(loader.batches(loader.request(ids) for ids in np.split(np.arange(24), [7, 14])))
    assert [tuple(batch.images.shape) for batch in batches] == [(7, 2, 8, 8, 3), (7, 2, 8, 8, 3), (10, 2, 8, 8, 3)]
    assert torch.cat([batch.ids_N for batch in batches]).tolist() == list(range(24))
    assert all(not batch.images[:, 1].any() and not batch.mirrored_N.any() for batch in batches)
    assert batches[0].draws_ND.shape == (7, 0)


def test_real_photographs_are_loaded(tmp_path: Path, make_shards: MakeShards, photos: list[bytes]) -> None:
    split = read_index(make_shards(members(photos, 6))).split("train")
    batches = load(split, DataConfig(classes=3, image_size=96), 0, 3, batch=2, streams=1, threads=2)
    assert {tuple(batch.images.shape) for batch in batches} == {(2, 96, 96, 3)}
    assert all(batch.valid_N.all() and batch.images.float().std() > 20 for batch in batches)


def test_a_sample_that_is_repeated_is_another_crop_each_time(digits: Index, digits_data: DataConfig) -> None:
    order = Order.of(digits.split("train"), 4, 16, 64, 7, repeats=2)
    with TrainLoader(digits.split("train"), order, digits_data, SAMPLING) as loader:
        (batch,) = loader.steps(3, 4)
    assert (batch.ids_N[0::2] == batch.ids_N[1::2]).all()
    assert len(batch.ids_N.unique()) == 8
    assert not (batch.draws_ND[0::2] == batch.draws_ND[1::2]).any()
    assert not torch.equal(batch.images[0::2], batch.images[1::2])
