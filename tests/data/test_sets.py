"""Several data sets are one stream: each sample as its own set has it, at any number of workers, from any step on."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from platform.config.checks import ConfigError
from platform.config.data import AlsoConfig, DataConfig, LoaderConfig, StorageConfig
from platform.config.sampling import SamplingConfig
from platform.config.sections import Config
from platform.config.training import TrainingConfig
from platform.data.batch import Batch
from platform.data.blend import BlendedOrder
from platform.data.cache import ShardError
from platform.data.dataset import ShardDataset
from platform.data.decode import EncodedImage
from platform.data.draws import uniforms
from platform.data.index import Index, read_index
from platform.data.labels import are_kept, labels_of
from platform.data.order import Order
from platform.data.readahead import OrderAhead
from platform.data.resize import resize
from platform.data.sampling import DRAWS, crop
from platform.data.sets import Blend, read_sets, require_same_classes, training_split
from platform.data.train_loader import TrainLoader
from platform.data.training_order import training_order
from platform.experiment.fingerprint import fingerprint
from tests.data.handmade import write_index, write_tar

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("one_thread")]

LOADER, BATCH, STREAMS = LoaderConfig(streams=4, block=16, threads=1), 8, 4
SAMPLING = SamplingConfig(interpolation="random")
CLASSES = ["a", "b", "c"]


def write_set(
    folder: Path,
    prefix: str,
    counts: list[int],
    jpegs: list[bytes],
    replaced: dict[int, bytes] | None = None,
    **of: Any,
) -> Path:
    """Images whose keys begin with `prefix`, labels as names in a JSON member."""
    folder.mkdir(parents=True)
    shards, number = {}, 0
    for shard, count in enumerate(counts):
        members: dict[str, bytes] = {}
        for _ in range(count):
            members[f"{prefix}{number:03d}.jpg"] = (replaced or {}).get(number, jpegs[number % len(jpegs)])
            members[f"{prefix}{number:03d}.json"] = json.dumps({"what": CLASSES[number % 3]}).encode()
            number += 1
        shards[write_tar(folder / f"train-{shard:06d}.tar", members).name] = count
    return write_index(folder, shards, packing={"label": "json:what"}, **of)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, small_jpegs: list[bytes]) -> DataConfig:
    """40 images in two shards, labels in numbers; 25% of 9 in two shards and 10% of 20, labels in names."""
    folder, counts = tmp_path_factory.mktemp("sets"), {}
    (folder / "first").mkdir()
    for shard, (begin, end) in enumerate(((0, 26), (26, 40))):
        members = {}
        for number in range(begin, end):
            members[f"first{number:03d}.jpg"] = small_jpegs[number % len(small_jpegs)]
            members[f"first{number:03d}.cls"] = str((number + 1) % 3).encode()
        counts[write_tar(folder / "first" / f"train-{shard:06d}.tar", members).name] = end - begin
    write_index(folder / "first", counts)
    also = {
        "rare": AlsoConfig(str(write_set(folder / "rare", "rare", [5, 4], small_jpegs[6:])), 0.25),
        "more": AlsoConfig(str(write_set(folder / "more", "more", [20], small_jpegs[3:])), 0.1),
    }
    return DataConfig(name="first", shards=str(folder / "first"), classes=3, also=also)


def config(data: DataConfig) -> Config:
    training = TrainingConfig(batch_size=BATCH)
    return Config(data=data, loader=LOADER, sampling=SAMPLING, seed=3, order_seed=5, training=training)


def batches(data: DataConfig, start: int, stop: int, **options: Any) -> list[Batch]:
    """As `training.loop` reads them."""
    split = training_split(read_sets(data), data)
    with TrainLoader(split, training_order(config(data), split), data, SAMPLING, **options) as loader:
        return list(loader.steps(start, stop))


def rows(found: list[Batch]) -> Iterator[list[tuple[int, int, bytes]]]:
    """(id, label, image) of each batch's samples, sorted: whoever read them."""
    for batch in found:
        yield sorted(
            (int(i), int(label), image.numpy().tobytes())
            for i, label, image in zip(batch.ids_N, batch.labels_N, batch.images, strict=True)
        )


def test_sets_are_numbered_by_name_and_each_keeps_its_own_labels(data: DataConfig) -> None:
    index = read_sets(data)
    split = training_split(index, data)
    assert list(index.also) == ["more", "rare"]
    assert isinstance(split, Blend)
    assert (split.samples, split.parts) == (69, [6500, 1000, 2500])
    keys = [split.read(number).key for number in range(split.samples)]
    assert keys == [*(f"first{n:03d}" for n in range(40)), *(f"more{n:03d}" for n in range(20)),
                    *(f"rare{n:03d}" for n in range(9))]  # fmt: skip
    labels = [(n + 1) % 3 for n in range(40)] + [n % 3 for n in range(20)] + [n % 3 for n in range(9)]
    assert [split.read(number).label for number in range(split.samples)] == labels
    assert {split.set_of(number) for number in range(40)} == {0}
    assert (split.set_of(40), split.set_of(59), split.set_of(60), split.set_of(68)) == (1, 1, 2, 2)
    for shard in range(len(split.shards)):
        split.prepare(shard)


def test_every_sample_is_the_crop_of_its_own_sets_image_and_the_counts_follow_from_the_weights(
    data: DataConfig,
) -> None:
    index = read_sets(data)
    split, own = (
        training_split(index, data),
        [index.split("train"), *(each.split("train") for each in index.also.values())],
    )
    assert isinstance(split, Blend)
    order = training_order(config(data), split)
    assert isinstance(order, BlendedOrder)
    seen = np.zeros(3, np.int64)
    for step, batch in enumerate(batches(data, 0, 25)):
        shown = order.showings(step)
        assert batch.ids_N.tolist() == shown.ids.tolist()
        np.testing.assert_array_equal(batch.draws_ND, uniforms(order.seed, shown.epochs, shown.ids, DRAWS))
        for n, sample_id in enumerate(batch.ids_N.tolist()):
            number = split.set_of(sample_id)
            sample = own[number].read(sample_id - split.first_ids[number])
            image = EncodedImage(sample.image)
            view = crop(SAMPLING, data, image.width, image.height, batch.draws_ND[n].tolist())
            assert torch.equal(batch.images[n], resize(image.decode(view.box), (32, 32), view.interpolation))
            assert batch.labels_N[n] == sample.label
            seen[number] += 1
        assert np.abs(seen - (step + 1) * BATCH * np.array([0.65, 0.1, 0.25])).max() < STREAMS
    assert seen.tolist() == [130, 20, 50]  # of 200


@pytest.mark.parametrize("world", [2, 3, 4])
def test_workers_together_have_the_batches_of_one(data: DataConfig, world: int) -> None:
    alone = batches(data, 0, 12)
    shares = [batches(data, 0, 12, rank=rank, world=world, threads=2) for rank in range(world)]
    for step, whole in enumerate(rows(alone)):
        (together,) = ([row for rank in shares for row in next(rows([rank[step]]))],)
        assert sorted(together) == whole


@pytest.mark.parametrize("start", [1, 7, 8, 15])
def test_a_start_in_the_middle_is_the_tail_of_the_whole_run(data: DataConfig, start: int) -> None:
    whole = list(rows(batches(data, 0, 18)))
    assert list(rows(batches(data, start, 18, prefetch=1))) == whole[start:]


def test_a_corrupt_image_is_replaced_by_one_of_its_own_set(tmp_path: Path, small_jpegs: list[bytes]) -> None:
    first = write_set(tmp_path / "first", "first", [12], small_jpegs, {11: b"junk"})
    rare = write_set(tmp_path / "rare", "rare", [6], small_jpegs[6:], {5: b"junk"})
    data = DataConfig(name="first", shards=str(first), classes=3, also={"rare": AlsoConfig(str(rare), 0.4)})
    order = training_order(config(data), training_split(read_sets(data), data))
    replaced = {11: 0, 17: 12}  # the last of a set by its first
    met: set[int] = set()
    for step, batch in enumerate(batches(data, 0, 8)):
        wanted = order.showings(step).ids.tolist()
        assert batch.ids_N.tolist() == [replaced.get(sample_id, sample_id) for sample_id in wanted]
        met |= set(wanted)
    assert met >= set(replaced)
    hopeless = write_set(tmp_path / "hopeless", "h", [4], small_jpegs, dict.fromkeys(range(4), b"junk"))
    other = replace(data, also={"rare": AlsoConfig(str(hopeless), 0.4)})
    with pytest.raises(ShardError, match=r"sample h\d+ cannot be decoded .* none of the next 3 can take its place"):
        batches(other, 0, 8)


def test_labels_of_all_sets_are_read_and_kept(data: DataConfig, tmp_path: Path) -> None:
    storage = StorageConfig(cache=str(tmp_path / "cache"))
    split = training_split(read_sets(data, storage), data)
    assert not are_kept(split)
    done: list[tuple[int, int]] = []
    labels = labels_of(split, lambda *counts: done.append(counts))
    assert labels.tolist() == [split.read(number).label for number in range(split.samples)]
    assert done == [(n, 5) for n in range(1, 6)]
    assert are_kept(split)
    first = training_split(read_sets(data, storage), replace(data, also={}))
    assert are_kept(first)  # each set's are kept by themselves
    assert labels_of(first).tolist() == labels[:40].tolist()


def remote(data: DataConfig) -> DataConfig:
    """The same at URLs."""
    also = {name: AlsoConfig(f"file://{each.shards}", each.weight) for name, each in data.others.items()}
    return replace(data, shards=f"file://{data.shards}", also=also)


def test_the_cache_and_its_limit_are_of_all_sets_together(data: DataConfig, tmp_path: Path) -> None:
    there = remote(data)
    sizes = [shard.bytes for shard in training_split(read_sets(there), there).shards]
    for cache in ("memory", str(tmp_path / "cache")):
        storage = StorageConfig(cache=cache, cache_gb=(sum(sizes) - 1) / 1e9)
        split = training_split(read_sets(there, storage), there)
        with pytest.raises(ConfigError, match=r"storage.cache_gb is .*, but 4 streams with blocks of 16 samples"):
            OrderAhead(split, training_order(config(there), split), 0, 1)
        held = {each.opened.cache.storage for each in split.of_sets} | {split.opened.cache.storage}
        assert len(held) == 1
        assert len({id(each.opened.cache) for each in split.of_sets}) == 1
    split = training_split(read_sets(there, StorageConfig(cache="memory", cache_gb=sum(sizes) / 1e9)), there)
    with TrainLoader(split, training_order(config(there), split), there, SAMPLING) as loader:
        list(loader.steps(0, 6))
        indexes = [(Path(place) / "index.json").stat().st_size for place in data.places.values()]
        assert loader.counts()["data/fetched_gb"] == sum(sizes + indexes) / 1e9  # each of them once
    assert list(rows(batches(there, 0, 6))) == list(rows(batches(data, 0, 6)))


def test_no_more_remote_bytes_are_held_than_the_limit_whichever_set_they_are_of(data: DataConfig) -> None:
    there = remote(data)
    shards = training_split(read_sets(there), there).shards
    limit = max(shard.bytes for shard in shards) + 1
    split = training_split(read_sets(there, StorageConfig(cache="memory", cache_gb=limit / 1e9)), there)
    for number in (0, 45, 65, 30, 61, 50, 2):
        split.read(number)
        held = {id(each.opened._held): each.opened._held for each in split.of_sets}  # one, however many sets
        opened = [shard for each in held.values() for _, shard in each.open]
        assert sum(shard.bytes for shard in opened) <= limit + split.shards[split.locate(number)[0]].bytes


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (["a", "b"], r"data\.also\.rare has 2 classes and data\.shards 3: it lacks c; pack it again"),
        (["a", "b", "c", "d"], r"data\.also\.rare has 4 classes and data\.shards 3: it has also d; pack"),
        (["a", "b", "x"], r"it has also x and lacks c; pack"),
        (["a", "c", "b"], r"has the classes of data\.shards in another order: b is 2 there and 1 here; pack"),
    ],
)
def test_sets_of_other_classes_are_refused_with_what_differs(
    data: DataConfig, tmp_path: Path, small_jpegs: list[bytes], classes: list[str], said: str
) -> None:
    rare = write_set(tmp_path / "rare", "rare", [6], small_jpegs, classes=classes)
    other = replace(data, also={"rare": AlsoConfig(str(rare), 0.4)})
    with pytest.raises(ConfigError, match=said) as refused:
        require_same_classes(read_sets(other))
    assert "\n" not in str(refused.value)
    with pytest.raises(ConfigError, match=said):
        ShardDataset(other, BATCH, loader=LOADER)


def test_a_set_whose_classes_have_no_names_is_told(data: DataConfig, tmp_path: Path, small_jpegs: list[bytes]) -> None:
    assert require_same_classes(read_sets(data)) == []
    unnamed = write_set(tmp_path / "rare", "rare", [6], small_jpegs, classes=[])
    index = read_sets(replace(data, also={"rare": AlsoConfig(str(unnamed), 0.4)}))
    (said,) = require_same_classes(index)
    assert said.startswith("data.also.rare has no names of classes: the labels of data.also.rare are taken for")


def test_what_is_not_there_or_too_small_is_refused_by_name(
    data: DataConfig, tmp_path: Path, small_jpegs: list[bytes]
) -> None:
    with pytest.raises(ShardError, match=r"data\.also\.rare: no index\.json in .*none; pack the data there"):
        read_sets(replace(data, also={"rare": AlsoConfig(str(tmp_path / "none"), 0.4)}))
    few = write_set(tmp_path / "few", "few", [3], small_jpegs)
    small = replace(data, also={"few": AlsoConfig(str(few), 0.4)})
    said = r"data\.also\.few has 3 training images, fewer than loader\.streams \(4\), which all read of it; lower"
    with pytest.raises(ConfigError, match=said):
        training_order(config(small), training_split(read_sets(small), small))


def test_the_digest_of_each_set_is_in_the_fingerprint_and_paths_are_not(data: DataConfig, tmp_path: Path) -> None:
    alone, both = (fingerprint(read_sets(each)) for each in (replace(data, also={}), data))
    assert {key: both[key] for key in alone} == alone
    rare = read_index(data.others["rare"].shards).split("train")
    assert both["also.rare"] == f"9 samples in 2 shards, sha256 {rare.digest}"
    assert set(both) - set(alone) == {"also.rare", "also.more"}
    assert str(tmp_path) not in str(both)


# --- The same stream in a loop that is not the platform's


def dataset(data: DataConfig, **options: Any) -> ShardDataset:
    given = {"loader": LOADER, "sampling": SAMPLING, "seed": 3, "order_seed": 5, "normalised": False}
    return ShardDataset(data, BATCH, **given | options)


def test_a_shard_dataset_reads_the_same_stream_and_resumes(data: DataConfig) -> None:
    undisturbed = dataset(data)
    whole = [batch for _ in range(2) for batch in undisturbed]
    theirs = batches(data, 0, len(whole))
    assert [batch.ids_N.tolist() for batch in whole] == [batch.ids_N.tolist() for batch in theirs]
    assert [batch.labels_N.tolist() for batch in whole] == [batch.labels_N.tolist() for batch in theirs]
    first = dataset(data)
    taken = [batch for _, batch in zip(range(5), first, strict=False)]
    second = dataset(data, rank=0, world=1)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    rest = [batch for _ in range(2) for batch in second]
    assert [batch.ids_N.tolist() for batch in taken + rest] == [batch.ids_N.tolist() for batch in whole]


def test_a_state_of_other_sets_or_weights_is_refused(
    data: DataConfig, tmp_path: Path, small_jpegs: list[bytes]
) -> None:
    state, rare = dataset(data).state_dict(), data.others["rare"]
    elsewhere = write_set(tmp_path / "rare", "rare", [5, 5], small_jpegs)
    for other in (
        {},
        data.also | {"rare": AlsoConfig(rare.shards, 0.3)},
        data.also | {"rare": AlsoConfig(str(elsewhere), 0.25)},
    ):
        with pytest.raises(ConfigError, match=re.escape("data.also is {")):
            dataset(replace(data, also=other)).load_state_dict(state)
    with pytest.raises(ConfigError, match=r"split is val, and data\.also blends training images"):
        dataset(data, split="val")


def test_the_order_of_one_set_is_what_it_was(digits: Index, digits_data: DataConfig) -> None:
    split = training_split(digits, digits_data)
    assert split is digits.split("train")
    assert type(training_order(Config(data=digits_data), split)) is Order
