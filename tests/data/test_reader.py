"""Open shards: members are found as tarfile finds them, wrong ones refused by name, nothing executed."""

import os
import pickle
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform.config.data import StorageConfig
from platform.data import reader as reader_module
from platform.data.cache import Bytes, ShardError, ShardFile
from platform.data.index import Index, read_index
from platform.data.reader import CLS, OpenShards, SampleRule, ShardReader
from platform.data.storage import Storage
from tests.data.handmade import MakeShards, edit_entry, open_all, two_shards, write_any


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
        ShardError, match=rf"{path} (is torn or no tar .*; copy it again|holds . samples, .*; pack it again)"
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


@pytest.mark.parametrize("label", [b"cat", b"", b"1.0", b"\xff", b"0x1"])
def test_a_label_that_is_no_integer_is_refused(make_shards: MakeShards, label: bytes) -> None:
    folder = make_shards({"007.jpg": b"image", "007.cls": label})
    with pytest.raises(
        ShardError, match=rf"sample 007 of {folder}/train-000000.tar has the label b.*, neither an integer nor"
    ):
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
    split = read_index(folder).split("train")
    sample = split.read(0)
    assert (sample.image, sample.label) == (b"image", 1)
    with pytest.raises(ShardError, match="needs an image and a cls"):
        split.read(1)
    assert not sprung.exists()
    pickle.loads(trap)  # noqa: S301 - the trap itself works
    assert sprung.exists()


@given(st.integers(0, 5000), st.integers(0, 2**31))
@settings(max_examples=100, deadline=None)
def test_a_shard_cut_anywhere_is_refused_or_whole(cut: int, size: int) -> None:
    members = {f"{n}.jpg": bytes(300 + n) for n in range(3)} | {f"{n}.cls": b"0" for n in range(3)}
    content = write_any([(name, data, 0) for name, data in sorted(members.items())], tarfile.USTAR_FORMAT)
    assert len(ShardReader(ShardFile("x.tar", 3, 0, ""), content).read(0).image) == 300
    end = 6 * 2 * 512  # headers and contents; then zeros
    torn = content[: min(cut, end)]
    with pytest.raises(ShardError, match=r"x.tar (is torn or no tar|holds)"):
        ShardReader(ShardFile("x.tar", 3, 0, ""), torn)


@given(st.binary(max_size=3000))
@settings(max_examples=200, deadline=None)
def test_garbage_is_refused(content: bytes) -> None:
    with pytest.raises(ShardError, match=r"x.tar is torn or no tar|x.tar holds 0 samples"):
        ShardReader(ShardFile("x.tar", 2, 0, ""), content)


@pytest.mark.parametrize(
    ("spec", "member", "label"),
    [
        ("cls", b" 7\n", 7),
        ("txt", b"dog\n", 1),
        ("TXT", b"-1", -1),
        ("json:label", b'{"label": 4, "caption": "a"}', 4),
        ("json:label", b'{"label": "cat"}', 0),
        ("json:a.b", b'{"a": {"b": 5}}', 5),
        ("json:a.1", b'{"a": ["cat", "dog"]}', 1),
        ("json:a.b", b'{"a.b": 6, "a": {"b": 5}}', 6),
    ],
)
def test_labels_are_numbers_or_names_of_classes(spec: str, member: bytes, label: int) -> None:
    assert SampleRule.of(spec, ("cat", "dog")).label(member) == label


@pytest.mark.parametrize("member", [b'{"label": true}', b'{"label": 1.5}', b"{}", b"[1]", b"nope", b'{"label": "owl"}'])
def test_other_labels_are_refused(member: bytes) -> None:
    content = write_any([("a.jpg", b"", 0), ("a.json", member, 0)], tarfile.USTAR_FORMAT)
    with pytest.raises(ShardError, match=r"sample a of x.tar has the label .* neither an integer nor the name of a cl"):
        ShardReader(ShardFile("x.tar", 1, 0, ""), content, SampleRule.of("json:label", ("cat", "dog")))


class CountingCache:
    """Holds one tar under every address; counts."""

    storage = Storage(StorageConfig())
    limit_bytes = 25

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.discarded: list[str] = []
        self.bad: set[str] = set()
        self.gate = threading.Event()
        self.gate.set()

    def open(self, shard: ShardFile) -> Bytes:
        self.gate.wait(10)
        self.opened.append(shard.url)
        if shard.url in self.bad:
            return b"gone bad"
        return write_any([("a.jpg", shard.url.encode(), 0), ("a.cls", b"0", 0)], tarfile.USTAR_FORMAT)

    def discard(self, shard: ShardFile) -> bool:
        self.discarded.append(shard.url)
        self.bad.discard(shard.url)
        return shard.url.startswith("memory:")


def shard(number: int, scheme: str = "memory://") -> ShardFile:
    return ShardFile(f"{scheme}{number}", 1, 10, "")


def test_a_shard_is_opened_once_however_many_threads_ask() -> None:
    cache = CountingCache()
    cache.gate.clear()
    opened = OpenShards(cache, CLS)
    threads = [threading.Thread(target=opened.reader, args=(shard(0),)) for _ in range(8)]
    for thread in threads:
        thread.start()
    cache.gate.set()
    for thread in threads:
        thread.join(10)
    assert cache.opened == ["memory://0"]


def test_no_more_remote_bytes_are_held_than_the_limit() -> None:
    cache = CountingCache()
    opened = OpenShards(cache, CLS)
    for number in (0, 1, 0, 2, 0, 3, 0):  # 25 bytes hold two shards of 10
        opened.reader(shard(number))
    assert cache.opened == [f"memory://{n}" for n in (0, 1, 2, 3)]
    opened.reader(shard(1))
    assert cache.opened[-1] == "memory://1"


def test_remote_shards_that_nobody_reads_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = CountingCache()
    cache.limit_bytes = 1000
    opened = OpenShards(cache, CLS)
    opened.reader(shard(0))
    opened.reader(shard(1))
    monkeypatch.setattr(reader_module, "IDLE_S", 0.0)
    opened.reader(shard(2))
    assert {shard for _, shard in opened._held.open} == {shard(2)}


def test_a_copy_gone_bad_is_discarded_and_fetched_again() -> None:
    cache = CountingCache()
    cache.bad = {"memory://0"}
    assert OpenShards(cache, CLS).reader(shard(0)).read(0).image == b"memory://0"
    assert cache.opened == ["memory://0"] * 2


def test_a_local_shard_that_is_bad_is_refused_and_left_alone() -> None:
    cache = CountingCache()
    cache.bad = {"0"}
    opened = OpenShards(cache, CLS)
    with pytest.raises(ShardError, match="shard 0 is torn or no tar"):
        opened.reader(shard(0, ""))
    assert cache.opened == ["0"]
    cache.bad = set()
    assert opened.reader(shard(0, "")).read(0).image == b"0"  # the error is not remembered


def test_many_shards_are_not_all_kept_open(digits: Index) -> None:
    whole, narrow = digits.split("train"), read_index(digits.url).split("train")
    narrow.opened._held.most = 1
    for sample_id in [0, whole.samples - 1, 1, 350, 2, 700, whole.samples - 2]:
        assert narrow.read(sample_id) == whole.read(sample_id)
    assert len(narrow.opened._held.open) == 1


def header(name: bytes, size: bytes) -> bytes:
    """A tar's header with this size, its checksum right."""
    block = bytearray(512)
    block[: len(name)], block[124 : 124 + len(size)], block[156:157] = name, size, b"0"
    block[257:265], block[148:156] = b"ustar\x0000", b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize("size", [b"-0000002000", b"-1", b"+7", b"9", b"7_7", b"0x10", b"\xff" * 12])
@pytest.mark.timeout(10)
def test_a_size_that_is_none_is_refused_and_ends(size: bytes) -> None:
    content = header(b"0.jpg", b"00000001000\0") + bytes(512) + header(b"0.cls", size) + bytes(2048)
    with pytest.raises(ShardError, match=r"x.tar (is torn or no tar|holds 1 samples)"):
        ShardReader(ShardFile("x.tar", 2, 0, ""), content)


@pytest.mark.parametrize("label", [b"9" * 30, b"9" * 5000, b"-" + b"9" * 11])
def test_a_label_beyond_every_number_of_classes_is_refused(label: bytes) -> None:
    content = write_any([("a.jpg", b"1", 0), ("a.cls", label, 0)], tarfile.USTAR_FORMAT)
    with pytest.raises(ShardError, match=r"sample a of x.tar has the label"):
        ShardReader(ShardFile("x.tar", 1, 0, ""), content)
