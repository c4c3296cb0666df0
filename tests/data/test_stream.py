"""The stream, shards to batches: exact under kills, at any world size and threads, from every kind of source."""

import io
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from platform.config.checks import ConfigError
from platform.config.data import MEMORY, DataConfig, StorageConfig
from platform.config.sampling import SamplingConfig
from platform.data import attempts, samplelog
from platform.data.batch import Batch
from platform.data.cache import ShardError
from platform.data.index import Index, Split, read_index
from platform.data.order import Order
from platform.data.samplelog import SampleLog
from platform.data.storage import Storage
from platform.data.store_errors import StorageError
from platform.data.train_loader import TrainLoader
from platform.data.urls import join
from tests.data import servers
from tests.data.handmade import write_index, write_tar
from tests.data.servers import http_server

pytestmark = pytest.mark.timeout(120)

WHOLE_IMAGE = SamplingConfig(method="centre_square", mirror=False)


def png(number: int) -> bytes:
    """An image that says which sample it is."""
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), (number % 256, number // 256, 7)).save(buffer, "PNG")
    return buffer.getvalue()


PNGS = [png(number) for number in range(160)]


def write_shards(folder: Path, sizes: list[int]) -> Path:
    """Shards of these sizes; the samples are numbered through them all."""
    counts, first = {}, 0
    for shard, size in enumerate(sizes):
        members = {}
        for number in range(first, first + size):
            members |= {f"{number:04d}.png": PNGS[number], f"{number:04d}.cls": str(number % 3).encode()}
        counts[write_tar(folder / f"train-{shard:06d}.tar", members).name] = size
        first += size
    return write_index(folder, counts)


def check(batch: Batch) -> None:
    """Every image is that of its id."""
    ids = batch.ids_N
    assert batch.valid_N.all()
    assert torch.equal(batch.labels_N, ids % 3)
    assert torch.equal(batch.images[:, 16, 16], torch.stack([ids % 256, ids // 256, torch.full_like(ids, 7)], 1).byte())


class Run:
    """A training run as its loaders see it: starts and kills at will, one log of sample ids."""

    def __init__(self, split: Split, order: Order, folder: Path) -> None:
        self.split, self.order, self.folder = split, order, folder

    def go(self, start: int, stop: int, world: int, threads: int, *, logged: bool = True) -> None:
        """All workers from a checkpoint at `start` to a kill after `stop`."""
        data = DataConfig(classes=3, image_size=32)
        number = samplelog.next_start(self.folder)
        with ExitStack() as stack:
            for rank in range(world):
                loader = stack.enter_context(
                    TrainLoader(
                        self.split, self.order, data, WHOLE_IMAGE, rank=rank, world=world, threads=threads, prefetch=2
                    )
                )
                log = stack.enter_context(SampleLog(self.folder, number, rank, world, wanted=logged))
                for step, batch in zip(range(start, stop), loader.steps(start, stop), strict=True):
                    check(batch)
                    log.add(step, batch.ids_N)


@st.composite
def runs(draw: st.DrawFn) -> dict[str, Any]:
    streams = draw(st.sampled_from([1, 2, 3, 6]))
    batch = streams * draw(st.integers(1, 3))
    sizes = draw(st.lists(st.integers(0, 30), min_size=1, max_size=5).filter(lambda s: batch <= sum(s) <= len(PNGS)))
    steps = sum(sizes) // streams // (batch // streams) * 2  # two epochs
    worlds = st.integers(1, streams)
    kill = st.tuples(st.integers(0, steps), st.integers(0, 3), worlds, st.integers(1, 3))  # step, beyond it, threads
    return {
        "sizes": sizes, "streams": streams, "batch": batch, "block": draw(st.integers(1, 40)),
        "seed": draw(st.integers(0, 2**63)), "steps": steps,
        "kills": draw(st.lists(kill, max_size=3)),
        "world": draw(worlds),
    }  # fmt: skip


@pytest.mark.slow
@given(runs())
@settings(max_examples=25, deadline=None)
def test_no_sample_is_lost_or_comes_twice_however_often_a_run_is_killed(run: dict[str, Any]) -> None:
    """Killed at any step, up to three steps after the newest checkpoint, and resumed by any number of workers."""
    with tempfile.TemporaryDirectory() as scratch:
        split = read_index(write_shards(Path(scratch), run["sizes"])).split("train")
        order = Order.of(split, run["streams"], run["batch"], run["block"], run["seed"])
        disturbed = Run(split, order, Path(scratch) / "disturbed")
        start = 0
        for kill, beyond, world, threads in sorted(run["kills"]):
            if kill >= start:
                disturbed.go(start, min(kill + beyond, run["steps"]), world, threads)
                start = kill
        disturbed.go(start, run["steps"], run["world"], 2)
        seen = samplelog.read(disturbed.folder)
    assert seen == {step: sorted(order.batch(step).tolist()) for step in range(run["steps"])}
    for epoch in range(2):
        ids = [i for step in range(order.steps_per_epoch) for i in seen[epoch * order.steps_per_epoch + step]]
        assert len(ids) == len(set(ids)) > order.samples - order.batch_size


def batches_of(index: Index, data: DataConfig, steps: int = 30) -> list[Batch]:
    split = index.split("train")
    order = Order.of(split, 4, 32, 200, 7)
    with TrainLoader(split, order, data, SamplingConfig(), threads=2) as loader:
        return list(loader.steps(5, 5 + steps))


@pytest.fixture(scope="module")
def local(digits: Index, digits_data: DataConfig) -> list[Batch]:
    return batches_of(digits, digits_data)


def assert_same(ours: list[Batch], theirs: list[Batch]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        assert torch.equal(a.ids_N, b.ids_N)
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.labels_N, b.labels_N)


@pytest.mark.slow
@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("kind", ["disk", "memory"])
def test_batches_over_http_are_those_of_the_disk(
    tmp_path: Path, digits: Index, digits_data: DataConfig, local: list[Batch], kind: str, ranges: bool
) -> None:
    storage = StorageConfig(cache=MEMORY if kind == "memory" else str(tmp_path / "cache"), cache_gb=1)
    with http_server(Path(digits.url), ranges=ranges) as server:
        index = read_index(server.url, storage)
        assert_same(batches_of(index, digits_data), local)
        assert all(count == 1 for count in server.requests.values())
        assert index.storage.traffic.bytes == sum(path.stat().st_size for path in Path(digits.url).glob("[it][nr]*"))


@pytest.mark.slow
def test_a_stream_outlives_faults_of_its_server(
    tmp_path: Path, digits: Index, digits_data: DataConfig, local: list[Batch], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "FIRST_PAUSE_S", 0.01)
    storage = StorageConfig(cache=str(tmp_path / "cache"), attempts=5, timeout_s=2)
    with http_server(Path(digits.url)) as server:
        kinds = [servers.status(503), servers.stall, servers.cut_short, servers.other_bytes, servers.too_little]
        for number, kind in enumerate(kinds):
            server.faults[f"train-{number:06d}.tar"] = [kind]
        index = read_index(server.url, storage)
        assert_same(batches_of(index, digits_data), local)
        assert index.storage.traffic.retries == len(kinds)


def test_a_shard_that_cannot_be_had_is_named_and_nothing_hangs(
    tmp_path: Path, digits: Index, digits_data: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "FIRST_PAUSE_S", 0.01)
    storage = StorageConfig(cache=str(tmp_path / "cache"), attempts=2, timeout_s=0.5)
    with http_server(Path(digits.url)) as server:
        index = read_index(server.url, storage)
        server.faults["train-000002.tar"] = [servers.status(503)] * 99
        with pytest.raises(StorageError, match=r"train-000002.tar cannot be read after 2 attempts \(HTTP 503"):
            batches_of(index, digits_data)


def test_a_cache_too_small_for_the_blocks_is_refused_with_the_size(
    tmp_path: Path, digits: Index, digits_data: DataConfig
) -> None:
    with http_server(Path(digits.url)) as server:
        index = read_index(server.url, StorageConfig(cache=str(tmp_path), cache_gb=0.0001))
        with pytest.raises(
            ConfigError, match=r"storage.cache_gb is 0.0001, but 4 streams .* take .* GB of shards; raise"
        ):
            batches_of(index, digits_data)


def test_an_index_from_elsewhere_may_name_only_its_own_shards(tmp_path: Path) -> None:
    write_shards(tmp_path, [3])
    text = (tmp_path / "index.json").read_text()
    with http_server(tmp_path) as server:
        for url in ("/etc/hostname", "file:///etc/hostname", "../other/x.tar", "http://169.254.169.254/latest"):
            (tmp_path / "index.json").write_text(text.replace("train-000000.tar", url))
            with pytest.raises(ShardError, match="outside its folder"):
                read_index(server.url)


@pytest.mark.slow
def test_batches_from_s3_are_those_of_the_disk(
    s3: str, tmp_path: Path, digits: Index, digits_data: DataConfig, local: list[Batch]
) -> None:
    store = Storage(StorageConfig())
    for path in Path(digits.url).iterdir():
        store.write(join("s3://shards/digits", path.name), path.read_bytes())
    index = read_index("s3://shards/digits", StorageConfig(cache=str(tmp_path / "cache")))
    assert index.split("val").samples == digits.split("val").samples
    assert_same(batches_of(index, digits_data), local)
    assert store.list("s3://shards/digits", ".tar") == Storage(StorageConfig()).list(digits.url, ".tar")


@pytest.mark.slow
def test_batches_from_gcs_are_those_of_the_disk(
    tmp_path: Path, digits: Index, digits_data: DataConfig, local: list[Batch], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Google's client against a server that answers the two requests reading needs."""
    with http_server(Path(digits.url)) as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        server.faults["train-000001.tar"] = [servers.status(503)]
        index = read_index("gs://bucket", StorageConfig(cache=str(tmp_path / "cache")))
        assert_same(batches_of(index, digits_data), local)


def test_what_s3_does_not_have_or_give_is_said(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ShardError, match=r"no index.json in s3://shards/nothing; pack"):
        read_index("s3://shards/nothing")
    with pytest.raises(ShardError, match=r"no index.json in s3://no-such-bucket/x"):
        read_index("s3://no-such-bucket/x")


def test_a_sample_log_that_is_not_wanted_is_not_there(tmp_path: Path) -> None:
    with SampleLog(tmp_path, 0, 0, 1, wanted=False) as log:
        log.add(0, torch.tensor([1]))
    assert list(tmp_path.iterdir()) == []
    assert samplelog.read(tmp_path) == {}


def test_a_torn_line_of_a_sample_log_does_not_count(tmp_path: Path) -> None:
    with SampleLog(tmp_path, 3, 0, 1, wanted=True) as log:
        log.add(3, torch.tensor([5, 1]))
    (path,) = (tmp_path / "samples").iterdir()
    path.write_text(path.read_text() + "4 12 3")
    assert samplelog.read(tmp_path) == {3: [1, 5]}


def log_start(folder: Path, steps_of_ranks: list[dict[int, list[int]]]) -> None:
    """One more start, each of whose ranks came to these steps."""
    start, world = samplelog.next_start(folder), len(steps_of_ranks)
    for rank, steps in enumerate(steps_of_ranks):
        with SampleLog(folder, start, rank, world, wanted=True) as log:
            for step, ids in steps.items():
                log.add(step, torch.tensor(ids))


def test_of_a_step_done_twice_the_sample_log_gives_the_last_start(tmp_path: Path) -> None:
    """Shrunk, grown again and begun at the same step with as many workers as before: none is taken for another."""
    log_start(tmp_path, [{0: [1], 1: [2], 2: [3]}, {0: [4], 1: [5], 2: [6]}])
    log_start(tmp_path, [{0: [11, 14], 1: [12, 15]}])
    assert samplelog.read(tmp_path) == {0: [11, 14], 1: [12, 15], 2: [3, 6]}
    log_start(tmp_path, [{0: [21]}, {0: [24]}])
    assert samplelog.read(tmp_path) == {0: [21, 24], 1: [12, 15], 2: [3, 6]}


def test_a_step_that_a_rank_did_not_come_to_was_not_done(tmp_path: Path) -> None:
    log_start(tmp_path, [{5: [1], 6: [2]}, {5: [3], 6: [4]}])
    log_start(tmp_path, [{5: [11], 6: [12], 7: [13]}, {5: [14]}, {}])
    assert samplelog.read(tmp_path) == {5: [1, 3], 6: [2, 4]}
    log_start(tmp_path, [{5: [21, 22], 6: [23, 24]}])
    assert samplelog.read(tmp_path) == {5: [21, 22], 6: [23, 24]}


def test_ids_are_those_of_a_pure_order(digits: Index) -> None:
    """What a batch says it holds is what the order says it should: nothing between them reorders."""
    order = Order.of(digits.split("train"), 4, 32, 200, 7)
    data = DataConfig(classes=10)
    with TrainLoader(digits.split("train"), order, data, SamplingConfig(), threads=3, prefetch=5) as loader:
        for step, batch in zip(range(17, 40), loader.steps(17, 40), strict=True):
            np.testing.assert_array_equal(batch.ids_N.numpy(), order.batch(step))
