"""The launcher's index on its workers: read once, the same for all, and refused where the shards have become others."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
import torch
from ray.exceptions import GetTimeoutError

from platform.config.checks import ConfigError
from platform.config.data import AlsoConfig, DataConfig, StorageConfig
from platform.data.index import Index
from platform.data.sets import read_sets, training_split
from platform.data.storage import Storage
from platform.experiment.fingerprint import fingerprint
from platform.lanes import worker
from platform.lanes.shared_index import SharedIndex, require_unchanged
from platform.training.worker import Worker
from tests.data.handmade import MakeShards, edit_entry, two_shards, write_index, write_tar

CPU = torch.device("cpu")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """What is read from now on, and how often; and an object store that keeps what it is given."""
    found: Counter[str] = Counter()
    read = Storage.read

    def counted(self: Storage, url: str, most: int | None = None) -> bytes:
        found[url] += 1
        return read(self, url, most)

    monkeypatch.setattr(Storage, "read", counted)
    monkeypatch.setattr(ray, "put", lambda value: value)
    monkeypatch.setattr(ray, "get", lambda value, timeout=None: value)
    return found


@pytest.fixture
def data(make_shards: MakeShards) -> DataConfig:
    return DataConfig(source=None, shards=str(two_shards(make_shards)), classes=3)


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A set of one image."""
    folder = tmp_path / "other"
    folder.mkdir()
    return write_index(folder, {write_tar(folder / "train-000000.tar", {"9.jpg": b"nine", "9.cls": b"1"}).name: 1})


def shared(data: DataConfig) -> SharedIndex:
    return SharedIndex.of(read_sets(data), data)


@pytest.mark.parametrize("workers", [1, 8, 64])
def test_the_store_is_asked_once_a_start_of_a_group_however_many_workers_it_has(
    data: DataConfig, reads: Counter[str], workers: int
) -> None:
    config = SimpleNamespace(data=data, storage=StorageConfig())
    lane: Any = SimpleNamespace(index=shared(data))
    reads.clear()
    of_all = [worker._index(lane, config) for _ in range(workers)]  # pyright: ignore[reportArgumentType]
    assert not reads
    worker._same_index(of_all[0], Worker(0, 1, CPU))
    assert reads == {f"{data.shards}/index.json": 1}
    first = fingerprint(read_sets(data))
    assert all(fingerprint(index) == first for index in of_all)
    assert of_all[-1].split("train").read(3).image == b"three"


def test_sets_beside_the_first_come_with_it(data: DataConfig, other: Path, reads: Counter[str]) -> None:
    both = replace(data, also={"more": AlsoConfig(str(other), 0.5)})
    handed = shared(both)
    reads.clear()
    index = handed.taken(both, StorageConfig())
    assert not reads
    split = training_split(index, both)
    assert split.read(split.samples - 1).image == b"nine"
    assert len({id(each.opened.cache) for each in split.of_sets}) == 1  # one cache, one limit
    require_unchanged(index)
    edit_entry(other, md5sum="f" * 32)
    with pytest.raises(ConfigError, match=rf"the train shards in {other} are others since this launch began"):
        require_unchanged(index)


def test_other_data_than_the_launchers_is_read(data: DataConfig, other: Path, reads: Counter[str]) -> None:
    handed = shared(data)
    assert handed.taken(replace(data, shards=str(other)), StorageConfig()).split("train").samples == 1
    assert reads[f"{other}/index.json"] == 1


def test_secrets_in_an_index_are_not_put_into_the_object_store(data: DataConfig, reads: Counter[str]) -> None:
    """Workers that have not read them could not open the shards either."""
    edit_entry(Path(data.shards), url="https://user:hunter2@example.org/a.tar")
    index = read_sets(data, ask_all=False)
    handed = SharedIndex.of(index, data)
    assert handed.tables is None
    reads.clear()
    assert fingerprint(handed.taken(data, StorageConfig())) == fingerprint(index)
    assert sum(reads.values()) == 1


def test_where_the_object_store_fails_the_index_is_read(
    data: DataConfig, reads: Counter[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    handed = shared(data)

    def late(value: Any, timeout: float | None = None) -> Any:
        raise GetTimeoutError

    monkeypatch.setattr(ray, "get", late)
    assert handed.taken(data, StorageConfig()).split("train").samples == 4
    assert "the launcher's index does not come (GetTimeoutError); it is read again" in caplog.text


def test_a_group_that_starts_again_refuses_shards_that_were_packed_anew(data: DataConfig, reads: Counter[str]) -> None:
    index, file = read_sets(data), Path(data.shards) / "index.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content, indent=2))  # other bytes that say the same
    assert refusal(index) == ""
    edit_entry(Path(data.shards), nsamples=1)
    assert refusal(index).startswith(f"the train shards in {data.shards} are others since this launch began; give the")
    file.write_text(json.dumps(content | {"classes": ["b", "a", "c"]}))
    assert "has other classes since this launch" in refusal(index)
    file.write_text("{")
    assert "is not a shard index" in refusal(index)
    file.unlink()
    assert "index.json is gone since this launch" in refusal(index)


def refusal(index: Index) -> str:
    """What a worker group says when it starts; "": nothing is refused."""
    try:
        worker._same_index(index, Worker(0, 1, CPU))
    except ConfigError as error:
        return str(error)
    return ""
