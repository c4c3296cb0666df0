"""The index and its shards: what is written is read, what is wrong is refused by name, nothing is executed."""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from platform.data.index import Index, ShardError, ShardReader, Split, read_index
from tests.data.handmade import MakeShards, write_index, write_tar


def two_shards(make_shards: MakeShards) -> Path:
    return make_shards(
        {"000.jpg": b"zero", "000.cls": b"0", "001.cls": b"1", "001.PNG": b"one"},
        {"000.webp": b"two", "000.cls": b"2\n", "sub/000.jpeg": b"three", "sub/000.cls": b"-1"},
    )


def edit_entry(folder: Path, **changes: Any) -> None:
    path = folder / "index.json"
    content = json.loads(path.read_text())
    content["shardlist"][0].update(changes)
    path.write_text(json.dumps(content))


def open_all(folder: Path) -> None:
    for split in read_index(folder).splits.values():
        reader = split
        for sample_id in range(split.samples):
            reader.read(sample_id)


def test_samples_come_back_as_written_in_the_order_of_the_index(make_shards: MakeShards) -> None:
    index = read_index(two_shards(make_shards))
    assert index.classes == ["a", "b", "c"]
    split = index.split("train")
    assert split.samples == 4
    assert [split.locate(i) for i in range(4)] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    reader = split
    samples = [reader.read(i) for i in range(4)]
    assert [s.key for s in samples] == ["000", "001", "000", "sub/000"]
    assert [s.image for s in samples] == [b"zero", b"one", b"two", b"three"]
    assert [s.label for s in samples] == [0, 1, 2, -1]


def test_a_reader_that_keeps_few_shards_open_reads_the_same(digits: Index) -> None:
    split = digits.split("train")
    assert len(split.shards) > 2
    narrow, wide = split, split
    for sample_id in [0, split.samples - 1, 1, 350, 2, 700, split.samples - 2]:
        assert narrow.read(sample_id) == wide.read(sample_id)
    assert len(narrow._readers) == 1


def test_splits_have_their_own_ids(digits: Index) -> None:
    train, val = digits.split("train"), digits.split("val")
    assert train.samples + val.samples == 1797
    assert train.read(0) != val.read(0)
    assert train.starts == [0, 300, 600, 900, 1200, train.samples]


def test_shards_of_no_samples_are_passed_over() -> None:
    shard = read_shard_sizes([2, 0, 0, 3])
    assert [shard.locate(i) for i in range(5)] == [(0, 0), (0, 1), (3, 0), (3, 1), (3, 2)]


def read_shard_sizes(sizes: list[int]) -> Split:
    from platform.data.index import Shard

    return Split("train", [Shard(Path(str(n)), samples, 0, "") for n, samples in enumerate(sizes)])


def test_an_absent_split_is_refused_with_those_there(make_shards: MakeShards) -> None:
    with pytest.raises(ShardError, match=r"no 'val' shards, only train; pack"):
        read_index(two_shards(make_shards)).split("val")


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
    with pytest.raises(ShardError, match=r"index.json is of kind 'wids-shard-index-v2'; only wids-shard-index-v1"):
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
        (remove, r"is missing though .*index.json names it; copy it back or pack again"),
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


def test_a_shard_of_other_samples_than_the_index_says_is_refused(make_shards: MakeShards) -> None:
    folder = two_shards(make_shards)
    edit_entry(folder, nsamples=3)
    with pytest.raises(
        ShardError, match=rf"{folder}/train-000000.tar holds 2 samples, its index says 3; pack it again"
    ):
        open_all(folder)


@pytest.mark.parametrize("kept", [0, 1, 100, 512, 515, 1024])
def test_a_torn_shard_is_refused_even_where_the_index_has_its_size(make_shards: MakeShards, kept: int) -> None:
    folder = two_shards(make_shards)
    path = folder / "train-000000.tar"
    path.write_bytes(path.read_bytes()[:kept])
    edit_entry(folder, filesize=kept)
    with pytest.raises(
        ShardError, match=rf"{path} (cannot be read .*; copy it again|holds . samples, .*; pack it again)"
    ):
        open_all(folder)


def test_a_shard_with_garbage_between_its_members_is_refused(make_shards: MakeShards) -> None:
    folder = two_shards(make_shards)
    path = folder / "train-000000.tar"
    content = bytearray(path.read_bytes())
    content[1024:1536] = os.urandom(512)  # the header of the second member
    path.write_bytes(content)
    with pytest.raises(ShardError, match=r"train-000000.tar"):
        open_all(folder)


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
    with pytest.raises(ShardError, match="outside its folder"):
        read_index(folder)


@pytest.mark.parametrize("label", [b"cat", b"", b"1.0", b"\xff", b"0x1"])
def test_a_label_that_is_no_integer_is_refused(make_shards: MakeShards, label: bytes) -> None:
    folder = make_shards({"007.jpg": b"image", "007.cls": label})
    with pytest.raises(ShardError, match=rf"sample 007 of {folder}/train-000000.tar has the label b.*, no integer"):
        open_all(folder)


@pytest.mark.parametrize("members", [{"007.cls": b"0"}, {"007.jpg": b""}, {"007.txt": b"", "007.seg.png": b""}])
def test_a_sample_without_image_or_label_is_refused(make_shards: MakeShards, members: dict[str, bytes]) -> None:
    folder = make_shards(members)
    with pytest.raises(
        ShardError, match=rf"sample 007 of {folder}/train-000000.tar has .*; it needs an image and a cls"
    ):
        open_all(folder)


class Trap:
    """Unpickling this makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("extension", ["pyd", "pickle", "pkl", "pth", "npy", "json"])
def test_members_that_could_execute_code_are_never_decoded(
    make_shards: MakeShards, tmp_path: Path, extension: str
) -> None:
    sprung = tmp_path / "sprung"
    trap = pickle.dumps(Trap(sprung))
    folder = make_shards({f"0.{extension}": trap, "0.jpg": b"image", "0.cls": b"1"}, {f"1.{extension}": trap})
    reader = read_index(folder).split("train")
    sample = reader.read(0)
    assert (sample.image, sample.label) == (b"image", 1)
    with pytest.raises(ShardError, match="needs an image and a cls"):
        reader.read(1)
    assert not sprung.exists()
    pickle.loads(trap)  # noqa: S301 - the trap itself works
    assert sprung.exists()


def test_links_and_folders_in_a_shard_are_no_members(tmp_path: Path) -> None:
    import tarfile

    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for kind, target in ((tarfile.DIRTYPE, ""), (tarfile.SYMTYPE, str(secret)), (tarfile.LNKTYPE, str(secret))):
            info = tarfile.TarInfo("0.jpg")
            info.type, info.linkname = kind, target
            tar.addfile(info)
    write_index(tmp_path, {"a.tar": 0})
    assert ShardReader(read_index(tmp_path).split("train").shards[0])._members == []
