"""Equal images: which are counted, named and dropped, whatever the seed and however often packing was interrupted."""

import dataclasses
import json
import os
import tracemalloc
from collections.abc import Callable, Generator, Iterable
from pathlib import Path

import pytest

from platform.config.checks import ConfigError
from platform.data.index import read_index
from platform.packing import recipe
from platform.packing.duplicates import NONE, digest_of, find
from platform.packing.items import Item
from platform.packing.pack import in_threads, pack
from platform.packing.shard import ShardResult, ShardTask
from tests.packing.packed import (
    CLASSES,
    class_files,
    config,
    contents,
    one_image,
    read_split,
    stored_as_packed,
    write_files,
)
from tests.packing.test_resume import interrupt_at


def test_the_held_out_copy_stays_and_else_the_first_by_name_whatever_the_order() -> None:
    parts = {
        "train": ["c", "a", "b", "leak", "", "unreadable"],
        "val": ["v", "both"],
        "test": ["t"],
    }
    digests = {name: digest_of(content) for name, content in {
        "a": b"1", "b": b"1", "c": b"1", "leak": b"2", "v": b"2", "both": b"3", "t": b"3",
    }.items()}  # fmt: skip
    for step in (1, -1):
        listed = {
            part: [(Item(name, "dog" if name == "b" else "cat"), digests.get(name, NONE)) for name in names][::step]
            for part, names in parts.items()
        }
        found = find(
            {part: ([item for item, _ in pairs], b"".join(d for _, d in pairs)) for part, pairs in listed.items()}
        )
        kept = {
            part: [item.name for number, (item, _) in enumerate(items) if number not in found.extra[part]][::step]
            for part, items in listed.items()
        }
        assert kept == {"train": ["a", "", "unreadable"], "val": ["v", "both"], "test": []}
        assert found.lines() == [
            "4 image(s) are equal to another, 2 of them to one of another part and 1 to one of another label "
            "(b: dog = a: cat): t (test) = both (val), b (train) = a (train), c (train) = a (train) ..."
        ]


def twice(jpegs: list[bytes]) -> dict[str, bytes]:
    """Every image under two names."""
    return class_files(jpegs) | {f"{CLASSES[i % 3]}/z{i:02d}.jpg": jpeg for i, jpeg in enumerate(jpegs)}


def test_an_interrupted_packing_counts_the_equal_images_of_its_finished_shards_too(
    tmp_path: Path, small_jpegs: list[bytes]
) -> None:
    source = write_files(tmp_path / "source", twice(small_jpegs))
    with pytest.raises(KeyboardInterrupt):
        pack(config(tmp_path, source), progress=interrupt_at(12), run=lambda tasks: in_threads(tasks, 1))
    report = pack(config(tmp_path, source))
    assert report.reused >= 3
    (line,) = report.duplicates
    assert line.startswith("12 image(s) are equal to another, ")
    assert read_index(tmp_path / "shards").packing[recipe.EQUAL] == 12


def test_a_shard_of_an_earlier_version_without_digests_is_packed_anew(tmp_path: Path, small_jpegs: list[bytes]) -> None:
    source = write_files(tmp_path / "source", twice(small_jpegs))
    with pytest.raises(KeyboardInterrupt):
        pack(config(tmp_path, source), progress=interrupt_at(12), run=lambda tasks: in_threads(tasks, 1))
    for path in (tmp_path / "shards.packing" / ".packing").glob("*.json"):
        record = json.loads(path.read_text())
        del record["digests"]
        path.write_text(json.dumps(record))
    report = pack(config(tmp_path, source))
    assert report.reused == 0
    assert len(report.duplicates) == 1


def test_what_is_dropped_leaves_one_of_each_and_every_seed_has_the_same_images(
    tmp_path: Path, small_jpegs: list[bytes]
) -> None:
    source = write_files(tmp_path / "source", {f"train/{name}": jpeg for name, jpeg in twice(small_jpegs[:9]).items()})
    write_files(source, class_files(small_jpegs[9:], "val/"))
    for seed in (0, 1):
        data = config(tmp_path / str(seed), source, duplicates="drop")
        assert pack(data, seed=seed).samples == {"train": 9, "val": 3}
        index = read_index(tmp_path / str(seed) / "shards")
        assert stored_as_packed(index, "train").keys() == set(small_jpegs[:9])
        assert recipe.EQUAL not in index.packing
    assert len(read_split(read_index(tmp_path / "1" / "shards"), "train")) == 9


@pytest.mark.parametrize("place", ["folder", "store"])
def test_images_are_looked_for_once_however_often_the_dropping_is_interrupted(
    tmp_path: Path, small_jpegs: list[bytes], place: str
) -> None:
    source = write_files(tmp_path / "source", twice(small_jpegs))
    shards = {"shards": f"memory://{tmp_path.name}/shards"} if place == "store" else {}
    data = dataclasses.replace(config(tmp_path, source, duplicates="drop"), **shards)
    totals: list[int] = []

    def interrupted(limit: int) -> Callable[[int, int], None]:
        def progress(done: int, total: int) -> None:
            totals.append(total)
            if total == 12 and done >= limit:
                raise KeyboardInterrupt

        return progress

    for limit in (1, 8):
        with pytest.raises(KeyboardInterrupt):
            pack(data, progress=interrupted(limit), run=lambda tasks: in_threads(tasks, 1))
    assert totals.index(12) == totals.count(24)  # before the first of the others, and never again
    report = pack(data)
    assert report.reused >= 2
    assert report.duplicates[0].startswith("12 image(s) are equal to another")
    plain = dataclasses.replace(data, shards=str(tmp_path / "undisturbed"))
    pack(plain)
    assert stored_as_packed(read_index(data.shards), "train") == stored_as_packed(read_index(plain.shards), "train")


def test_an_image_that_becomes_equal_to_another_between_the_passes_is_not_kept(
    tmp_path: Path, small_jpegs: list[bytes]
) -> None:
    source = write_files(tmp_path / "source", {f"train/{name}": jpeg for name, jpeg in twice(small_jpegs[:9]).items()})
    write_files(source, class_files(small_jpegs[9:], "val/"))
    data = config(tmp_path, source, duplicates="drop")

    def changed(done: int, total: int) -> None:
        if done == total == 21:
            path = source / "train" / "dog" / "01.jpg"
            before = path.stat()
            path.write_bytes(small_jpegs[0].ljust(before.st_size, b"\0"))
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # nothing shows it but its bytes

    with pytest.raises(ConfigError, match=r"was changed while it was packed: 1 image.* the same command looks again"):
        pack(data, progress=changed)
    assert pack(data).samples == {"train": 9, "val": 3}


def test_another_list_of_images_is_looked_through_anew(tmp_path: Path, small_jpegs: list[bytes]) -> None:
    source = write_files(tmp_path / "source", twice(small_jpegs))
    data = config(tmp_path, source, duplicates="drop")

    def interrupted(done: int, total: int) -> None:
        if total == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(data, progress=interrupted)
    (source / "cat" / "later.jpg").write_bytes(one_image("JPEG"))
    assert sum(pack(data).samples.values()) == 13


def test_refused_shards_are_taken_up_once_equal_images_may_stay(tmp_path: Path, small_jpegs: list[bytes]) -> None:
    source = write_files(tmp_path / "source", twice(small_jpegs))
    with pytest.raises(ConfigError, match=r"12 image\(s\) are equal .*; take them out, or give data.duplicates=keep"):
        pack(config(tmp_path, source, duplicates="refuse"))
    assert not (tmp_path / "shards").exists()
    report = pack(config(tmp_path, source))
    assert report.reused == report.shards


def test_a_config_that_refuses_equal_images_does_not_take_shards_that_hold_some(
    tmp_path: Path, small_jpegs: list[bytes], class_folder: Path
) -> None:
    data = config(tmp_path, write_files(tmp_path / "double", twice(small_jpegs)))
    pack(data)
    record = read_index(tmp_path / "shards").packing
    recipe.refuse_others(record, data)
    with pytest.raises(ConfigError, match=r"data.duplicates is refuse, but the shards in .* hold 12 image\(s\) equal"):
        recipe.refuse_others(record, config(tmp_path, tmp_path / "double", duplicates="refuse"))
    with pytest.raises(ConfigError, match=r"packed with data.duplicates=keep, .* asks for data.duplicates=drop"):
        recipe.refuse_others(record, config(tmp_path, tmp_path / "double", duplicates="drop"))
    for how in ("keep", "refuse"):
        (tmp_path / how).mkdir()
        pack(config(tmp_path / how, class_folder, duplicates=how))
        recipe.refuse_others(
            read_index(tmp_path / how / "shards").packing, config(tmp_path / how, class_folder, duplicates="refuse")
        )
    assert contents(tmp_path / "keep" / "shards") == contents(tmp_path / "refuse" / "shards")


def test_dropping_a_whole_part_is_refused(tmp_path: Path, small_jpegs: list[bytes]) -> None:
    files = class_files(small_jpegs[:6], "train/") | class_files(small_jpegs[6:], "val/")
    source = write_files(tmp_path / "source", files | class_files(small_jpegs[6:], "test/"))
    with pytest.raises(ConfigError, match="every image of the test part is in another part, too"):
        pack(config(tmp_path, source, duplicates="drop"))


def test_nobody_else_packs_there_between_finding_equal_images_and_writing_the_others(
    tmp_path: Path, small_jpegs: list[bytes]
) -> None:
    source = write_files(tmp_path / "source", twice(small_jpegs))
    data = config(tmp_path, source, duplicates="drop")
    refused: list[str] = []

    def between(tasks: Iterable[ShardTask]) -> Generator[ShardResult]:
        with pytest.raises(ConfigError, match="is being packed by") as caught:
            pack(data)
        refused.append(str(caught.value))
        yield from in_threads(tasks, 1)

    pack(data, run=between)
    assert len(refused) == 2


@pytest.mark.slow
def test_what_finding_equal_images_holds_of_an_image_is_its_digest() -> None:
    """A million images: 16 MB, and as much again twice while they are sorted."""
    items = [Item(f"{i}.jpg", "cat") for i in range(50_000)]
    digests = b"".join(digest_of(str(i // 2 if i < 100 else i).encode()) for i in range(50_000))
    tracemalloc.start()
    try:
        assert find({"train": (items, digests)}).count == 50
        assert tracemalloc.get_traced_memory()[1] / len(items) < 100
    finally:
        tracemalloc.stop()


def test_a_class_of_which_a_part_has_no_image_after_dropping_is_said(
    tmp_path: Path, small_jpegs: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    files = class_files(small_jpegs[:6], "train/") | class_files(small_jpegs[6:9], "val/")
    files |= class_files(small_jpegs[9:], "test/") | {"test/cat/00.jpg": small_jpegs[6]}  # the cat of val
    data = config(tmp_path, write_files(tmp_path / "source", files), duplicates="drop")
    assert pack(data).samples == {"train": 6, "val": 3, "test": 2}
    assert [record.message for record in caplog.records] == [
        f"{data.source}, equal images dropped: 1 of the 3 classes have no test image: cat"
    ]
