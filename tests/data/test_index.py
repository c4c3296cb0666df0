"""The index: what is written is read, what is wrong is refused by name."""

import json
import os
import pickle
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from platform.config.data import StorageConfig
from platform.data.cache import ShardError, ShardFile
from platform.data.index import Index, Split, has_index, read_index
from tests.data.handmade import MakeShards, edit_entry, two_shards, write_index, write_tar


def test_samples_come_back_as_written_in_the_order_of_the_index(make_shards: MakeShards) -> None:
    index = read_index(two_shards(make_shards))
    assert index.classes == ["a", "b", "c"]
    split = index.split("train")
    assert split.samples == 4
    assert [split.locate(i) for i in range(4)] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    samples = [split.read(i) for i in range(4)]
    assert [s.key for s in samples] == ["000", "001", "000", "sub/000"]
    assert [s.image for s in samples] == [b"zero", b"one", b"two", b"three"]
    assert [s.label for s in samples] == [0, 1, 2, -1]


def test_splits_have_their_own_ids(digits: Index) -> None:
    train, val = digits.split("train"), digits.split("val")
    assert train.samples + val.samples == 1797
    assert train.read(0) != val.read(0)
    assert train.starts.tolist() == [0, 287, 575, 862, 1150, train.samples]


def test_shards_of_no_samples_are_passed_over() -> None:
    shard = read_shard_sizes([2, 0, 0, 3])
    assert [shard.locate(i) for i in range(5)] == [(0, 0), (0, 1), (3, 0), (3, 1), (3, 2)]


def read_shard_sizes(sizes: list[int]) -> Split:
    return Split("train", [ShardFile(str(n), samples, 0, "") for n, samples in enumerate(sizes)])


def test_an_absent_split_is_refused_with_those_there(make_shards: MakeShards) -> None:
    folder = two_shards(make_shards)
    with pytest.raises(ShardError, match=r"no 'val' shards, only train; move its index.json away .*pack.action=index"):
        read_index(folder).split("val")
    write_index(folder, {"train-000000.tar": 2}, packing={"samples_per_shard": 2})
    with pytest.raises(ShardError, match=r"no 'val' shards, only train; pack it again"):
        read_index(folder).split("val")


def counted_calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked for its size from now on."""
    asked: list[str] = []
    stat = os.stat

    def counting(path: Any, *args: Any, **kwargs: Any) -> os.stat_result:
        asked.append(str(path))
        return stat(path, *args, **kwargs)

    monkeypatch.setattr(os, "stat", counting)
    return asked


def test_a_worker_asks_for_no_shard_before_it_opens_it(
    make_shards: MakeShards, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The launcher asks for all; at 100,000 shards on a network file system, so would every worker at every start."""
    folder = two_shards(make_shards)
    asked = counted_calls(monkeypatch)
    read_index(folder)
    assert sorted(asked) == [f"{folder}/train-000000.tar", f"{folder}/train-000001.tar"]
    asked.clear()
    split = read_index(folder, ask_all=False).split("train")
    assert asked == []
    shorten(folder / "train-000001.tar")
    assert split.read(0).image == b"zero"
    with pytest.raises(ShardError, match=r"train-000001.tar has \d+ bytes, its index says \d+; copy it again"):
        split.read(2)


def test_a_worker_opens_no_link_out_of_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    (folder / "x.tar").symlink_to(write_tar(tmp_path / "x.tar", {"0.jpg": b"", "0.cls": b"0"}))
    write_index(folder, {"x.tar": 1})
    split = read_index(folder, ask_all=False).split("train")
    for opened in (split, pickle.loads(pickle.dumps(split))):  # noqa: S301 - our own
        with pytest.raises(ShardError, match="link to outside its folder"):
            opened.read(0)


def test_a_folder_without_index_is_refused_with_the_way_to_make_one(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(ShardError, match=rf"no index.json in {folder}; pack .*job=pack"):
            read_index(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"__kind__": "wids-shard-index-v1"}', "\ufeff{}"])
def test_an_index_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(ShardError, match=rf"{tmp_path}/index.json is not a shard index .*; pack the data again"):
        read_index(tmp_path)


@pytest.mark.parametrize("changes", [{"nsamples": "many"}, {"filesize": None}, {"url": 3}])
def test_an_index_with_impossible_entries_is_refused(make_shards: MakeShards, changes: dict[str, Any]) -> None:
    folder = two_shards(make_shards)
    edit_entry(folder, **changes)
    with pytest.raises(ShardError, match=r"index.json is not a shard index .*; pack the data again"):
        read_index(folder)


def test_an_index_of_a_foreign_kind_is_refused(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", {"0.cls": b"0"})
    write_index(tmp_path, {"a.tar": 1}, __kind__="wids-shard-index-v2")
    with pytest.raises(ShardError, match=r"its __kind__ is 'wids-shard-index-v2'; only wids-shard-index-v1"):
        read_index(tmp_path)


def remove(path: Path) -> None:
    path.unlink()


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-512])


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (remove, r"is missing though its index names it; copy it back or pack again"),
        (shorten, r"has \d+ bytes, its index says \d+; copy it again"),
        (lengthen, r"has \d+ bytes, its index says \d+; copy it again"),
    ],
)
def test_a_missing_or_resized_shard_is_refused_at_once(
    make_shards: MakeShards, change: Callable[[Path], None], message: str
) -> None:
    folder = two_shards(make_shards)
    change(folder / "train-000001.tar")
    with pytest.raises(ShardError, match=rf"shard {folder}/train-000001.tar {message}"):
        read_index(folder)


@pytest.mark.parametrize("url", ["../x.tar", "sub/../../x.tar", "/etc/hostname"])
def test_a_shard_outside_the_folder_is_refused(tmp_path: Path, url: str) -> None:
    folder = tmp_path / "shards"
    (folder / "sub").mkdir(parents=True)
    write_tar(tmp_path / "x.tar", {"0.jpg": b"", "0.cls": b"0"})
    write_index(folder, {})
    entry = {"url": url, "nsamples": 1, "filesize": 10240}
    (folder / "index.json").write_text(json.dumps({"__kind__": "wids-shard-index-v1", "shardlist": [entry]}))
    with pytest.raises(ShardError, match=rf"{folder} names '{url}', outside its folder; .* beside their index"):
        read_index(folder)


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    (folder / "x.tar").symlink_to(write_tar(tmp_path / "x.tar", {"0.jpg": b"", "0.cls": b"0"}))
    write_index(folder, {"x.tar": 1})
    with pytest.raises(ShardError, match="link to outside its folder"):
        read_index(folder)


def test_a_linked_folder_of_shards_elsewhere_is_refused(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "shards", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    path = write_tar(elsewhere / "x.tar", {"0.jpg": b"", "0.cls": b"0"})
    (folder / "sub").symlink_to(elsewhere)
    write_index(folder, {})
    edit = {"url": "sub/x.tar", "nsamples": 1, "filesize": path.stat().st_size}
    (folder / "index.json").write_text(json.dumps({"__kind__": "wids-shard-index-v1", "shardlist": [edit]}))
    with pytest.raises(ShardError, match="link to outside its folder"):
        read_index(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"nsamples": -1},
        {"filesize": -5},
        {"nsamples": "many"},
        {"nsamples": 1e999},
        {"nsamples": 1e30},
        {"nsamples": True},
        {"filesize": 2.5},
    ],
)
def test_impossible_sizes_are_refused(make_shards: MakeShards, changes: dict[str, Any]) -> None:
    folder = two_shards(make_shards)
    edit_entry(folder, **changes)
    with pytest.raises(ShardError, match=r"index.json is not a shard index"):
        read_index(folder)


def test_an_index_of_this_machine_may_name_urls_and_no_other_may(tmp_path: Path) -> None:
    entry = {"url": "https://example.org/a.tar", "nsamples": 1, "filesize": 10240}
    text = json.dumps({"__kind__": "wids-shard-index-v1", "shardlist": [entry]})
    (tmp_path / "index.json").write_text(text)
    assert read_index(tmp_path).split("train").shards[0].url == "https://example.org/a.tar"
    with pytest.raises(ShardError, match=r"names 'https://example.org/a.tar', outside its folder"):
        read_index(f"file://{tmp_path}")
    for url in ("file:///etc/hostname", "local:///etc/hostname"):
        edit_entry(tmp_path, url=url)
        with pytest.raises(ShardError, match="outside its folder"):
            read_index(tmp_path)


def test_whether_there_is_an_index_is_known_for_paths_and_urls(make_shards: MakeShards, tmp_path: Path) -> None:
    folder = two_shards(make_shards)
    for url in (str(folder), f"file://{folder}"):
        assert has_index(url, StorageConfig())
        assert not has_index(f"{url}/nothing", StorageConfig())


@pytest.mark.slow
def test_an_index_of_100_000_shards_takes_little_memory(tmp_path: Path) -> None:
    entries = [
        {"url": f"train-{n:06d}.tar", "nsamples": 12800, "filesize": 1400000000, "md5sum": f"{n:032x}"}
        for n in range(100_000)
    ]
    (tmp_path / "index.json").write_text(json.dumps({"__kind__": "wids-shard-index-v1", "shardlist": entries}))
    del entries
    tracemalloc.start()
    index = read_index(f"file://{tmp_path}")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert index.split("train").samples == 1_280_000_000
    assert index.split("train").locate(1_279_999_999) == (99_999, 12_799)
    assert peak < 200e6


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "it is a JSON list, not an object"),
        ("{}", "it has no __kind__"),
        ('{"__kind__": "wids-shard-index-v2"}', "its __kind__ is 'wids-shard-index-v2'; only wids-shard-index-v1 is"),
        ('{"__kind__": "wids-shard-index-v1"}', "it has no shardlist"),
        ('{"__kind__": "wids-shard-index-v1", "shardlist": {"a": 1}}', "its shardlist is \"{'a': 1}\", not a list"),
        ('{"__kind__": "wids-shard-index-v1", "shardlist": [1]}', "its shardlist has '1', which is not an object"),
        (
            '{"__kind__": "wids-shard-index-v1", "shardlist": [{"url": "a.tar", "nsamples": 1}]}',
            "entry 0 of its shardlist has no filesize",
        ),
        (
            '{"__kind__": "wids-shard-index-v1", "shardlist": [{"url": "a.tar", "nsamples": -1, "filesize": 5}]}',
            "a.tar has -1 samples and 5 bytes",
        ),
        ('{"__kind__": "wids-shard-index-v1", "shardlist": [], "packing": "x"}', "its packing is 'x', not a dict"),
        ('{"__kind__": "wids', "not JSON, or cut short"),
        ("\0", "not JSON, or cut short"),
        ("[" * 100_000, "its JSON is nested too deeply"),
    ],
)
def test_what_is_wrong_with_an_index_is_said_in_words(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(ShardError) as caught:
        read_index(tmp_path)
    assert f"index.json is not a shard index ({said}" in str(caught.value)
    assert "pack.action=index" in str(caught.value)
