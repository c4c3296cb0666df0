"""Verifying: what was packed is accepted, and every bad shard is found."""

import io
import json
import time
from pathlib import Path

import fsspec
import pytest

from platform.config.data import DataConfig, StorageConfig
from platform.data.cache import ShardError
from platform.data.index import read_index
from platform.data.storage import Storage
from platform.data.store_errors import StorageError
from platform.packing.pack import pack
from platform.packing.verify import each, verify
from tests.data.handmade import MakeShards, two_shards
from tests.packing.packed import config


def test_what_was_packed_is_accepted(tmp_path: Path, class_folder: Path) -> None:
    data = config(tmp_path, class_folder)
    pack(data)
    calls: list[tuple[int, int]] = []
    found = verify(data, progress=lambda done, total: calls.append((done, total)))
    assert found.bad == []
    assert (found.samples, found.shards) == ({"train": 9, "val": 3}, {"train": 3, "val": 1})
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_tar_files_that_the_index_does_not_have_are_mentioned_and_no_failure(
    tmp_path: Path, make_shards: MakeShards, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = two_shards(make_shards)
    shards = sorted(folder.glob("*.tar"))
    (folder / "more").mkdir()
    for name in ("more/late.TAR", "._hidden.tar"):
        (folder / name).write_bytes(shards[0].read_bytes())
    store = fsspec.filesystem("memory")
    for path in (path for path in folder.rglob("*") if path.is_file()):
        store.pipe_file(f"memory://late/{path.relative_to(folder)}", path.read_bytes())
    lines = ["1 tar files that the index does not have: more/late.TAR"]
    for url in (str(folder), f"{folder}/", "memory://late"):
        assert [line for line in verify(DataConfig(shards=url)).left_out if "index" in line] == lines

    def none(*_: object) -> None:
        raise StorageError("it lists nothing")

    monkeypatch.setattr(Storage, "list", none)
    assert verify(DataConfig(shards="memory://late")).left_out == []


def test_every_bad_shard_is_listed_in_a_line_that_names_it(tmp_path: Path, class_folder: Path) -> None:
    data = config(tmp_path, class_folder)
    pack(data)
    folder = tmp_path / "shards"
    flipped = bytearray((folder / "train-000001.tar").read_bytes())
    flipped[700] ^= 1
    (folder / "train-000001.tar").write_bytes(flipped)
    read_index(folder)  # the size is right
    (folder / "train-000002.tar").write_bytes(b"short")
    (folder / "val-000000.tar").unlink()
    bad = verify(data).bad
    assert len(bad) == 3
    assert f"{folder}/train-000001.tar has the checksum" in bad[0]
    assert f"{folder}/train-000002.tar has 5 bytes, its index says" in bad[1]
    assert f"{folder}/val-000000.tar cannot be read" in bad[2]


def test_labels_out_of_range_and_samples_without_one_are_found(make_shards: MakeShards) -> None:
    folder = make_shards({"0.jpg": b"x", "0.cls": b"2"}, {"1.jpg": b"x", "1.cls": b"3"}, {"2.jpg": b"x"})
    bad = verify(DataConfig(shards=str(folder), classes=3)).bad
    assert len(bad) == 2
    assert "train-000001.tar has the label 3, labels are 0 to 2" in bad[0]
    assert "sample 2 of" in bad[1]


def test_shards_at_a_url_are_verified_too(class_folder: Path) -> None:
    data = DataConfig(shards="memory://verified", source=str(class_folder), classes=3, samples_per_shard=4)
    pack(data)
    assert verify(data).bad == []
    store = fsspec.filesystem("memory")
    content = bytearray(store.cat_file("memory://verified/val-000000.tar"))
    content[-1] ^= 1
    store.pipe_file("memory://verified/val-000000.tar", bytes(content))
    (line,) = verify(data).bad
    assert "memory://verified/val-000000.tar has the checksum" in line


def test_there_has_to_be_an_index(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"no index.json in"):
        verify(DataConfig(shards=str(tmp_path)))


def test_an_index_of_no_shards_is_not_whole(tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text(json.dumps({"__kind__": "wids-shard-index-v1", "shardlist": []}))
    with pytest.raises(ShardError, match=r"names no shards; pack the data again"):
        verify(DataConfig(shards=str(tmp_path)))


def test_an_index_that_names_a_shard_twice_is_refused(make_shards: MakeShards) -> None:
    folder = two_shards(make_shards)
    content = json.loads((folder / "index.json").read_text())
    content["shardlist"] *= 2
    (folder / "index.json").write_text(json.dumps(content))
    with pytest.raises(ShardError, match=r"it names a shard twice"):
        verify(DataConfig(shards=str(folder)))


def test_an_error_of_one_shard_ends_the_others() -> None:
    source, begun = Storage(StorageConfig()), []

    def work(number: int) -> None:
        begun.append(number)
        if number == 0:
            raise RuntimeError("first")
        time.sleep(0.05)

    with pytest.raises(RuntimeError, match="first"):
        each(list(range(1000)), work, source, "", None)
    assert len(begun) < 1000
    with pytest.raises(StorageError):
        source.fetch("memory://x/a.tar", 5, "", io.BytesIO())
