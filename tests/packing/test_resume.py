"""Interrupted packings: what is finished stays, what is not leaves nothing, nobody packs twice at a time."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from platform.config.checks import ConfigError
from platform.data.index import read_index
from platform.packing import shard
from platform.packing.pack import in_threads, pack
from tests.packing.packed import config, contents, write_files


def interrupt_at(count: int) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if done >= count:
            raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize("count", [1, 6, 11])
def test_an_interrupted_packing_leaves_the_finished_shards_only(tmp_path: Path, class_folder: Path, count: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        pack(config(tmp_path, class_folder), progress=interrupt_at(count))
    assert {path.name for path in tmp_path.iterdir()} == {"source", "shards.packing"}
    unfinished = tmp_path / "shards.packing"
    shards = {path.name for path in unfinished.iterdir()} - {".packing"}
    assert shards
    assert all(name.endswith(".tar") for name in shards)
    assert {path.name for path in (unfinished / ".packing").glob("*.json")} == {f"{name}.json" for name in shards}


def test_an_interrupted_packing_leaves_earlier_shards_as_they_were(tmp_path: Path, class_folder: Path) -> None:
    pack(config(tmp_path, class_folder))
    before = contents(tmp_path / "shards")
    with pytest.raises(KeyboardInterrupt):
        pack(config(tmp_path, class_folder), seed=1, progress=interrupt_at(8))
    assert contents(tmp_path / "shards") == before
    assert {path.name for path in tmp_path.iterdir()} == {"source", "shards", "shards.packing"}
    pack(config(tmp_path, class_folder), seed=1)
    assert {path.name for path in tmp_path.iterdir()} == {"source", "shards"}
    assert read_index(tmp_path / "shards").packing["seed"] == 1


def stops_after_one(tmp_path: Path, source: Path) -> dict[str, int]:
    """Pack until the first shard is there; shard -> inode of what was finished."""
    with pytest.raises(KeyboardInterrupt):
        pack(config(tmp_path, source), progress=interrupt_at(1), run=lambda tasks: in_threads(tasks, 1))
    return inodes(tmp_path / "shards.packing")


def inodes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_ino for path in folder.glob("*.tar")}


def test_a_changed_image_setting_or_shard_is_packed_anew(tmp_path: Path, class_folder: Path) -> None:
    finished = stops_after_one(tmp_path, class_folder)
    assert "train-000000.tar" in finished
    report = pack(config(tmp_path, class_folder))
    assert report.reused == len(finished)
    for change in ("seed", "quality", "image", "torn"):
        finished = stops_after_one(tmp_path, class_folder)
        if change == "image":
            for path in class_folder.rglob("*.jpg"):
                path.write_bytes(path.read_bytes() + b"\0")
        if change == "torn":
            for name in finished:
                path = tmp_path / "shards.packing" / name
                path.write_bytes(path.read_bytes()[:-1] + b"x")
        changed = config(tmp_path, class_folder, **({"jpeg_quality": 50} if change == "quality" else {}))
        assert pack(changed, seed=int(change == "seed")).reused == 0, change


def test_shards_that_a_version_with_another_layout_has_finished_are_packed_anew(
    tmp_path: Path, class_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else an update in the middle of a packing would mix two kinds of shards."""
    with monkeypatch.context() as earlier:
        earlier.setattr(shard, "LAYOUT", shard.LAYOUT - 1)
        assert stops_after_one(tmp_path, class_folder)
    assert pack(config(tmp_path, class_folder)).reused == 0


STALLS = """
import itertools, signal, sys, threading
from platform.config.sections import DataConfig
from platform.packing import shard
from platform.packing.pack import in_threads, pack
whole, images, interrupted = shard.stored, itertools.count(), threading.Event()
def interrupt(*_):
    interrupted.set()
    raise KeyboardInterrupt
def stalls(*arguments, **named):
    if next(images) >= 5:
        interrupted.wait(300)
    return whole(*arguments, **named)
signal.signal(signal.SIGINT, interrupt)
shard.stored = stalls
data = DataConfig(shards=sys.argv[1], source=sys.argv[2], classes=3, samples_per_shard=2)
pack(data, run=lambda tasks: in_threads(tasks, 1))
"""


@contextlib.contextmanager
def stalled_packing(tmp_path: Path, source: Path) -> "Iterator[subprocess.Popen[bytes]]":
    """A process that has packed two or three shards and stands still in the next, however slow who watches it is."""
    process = subprocess.Popen([sys.executable, "-c", STALLS, str(tmp_path / "shards"), str(source)])
    try:
        wait_for(lambda: len(list((tmp_path / "shards.packing" / ".packing").glob("*.json"))) >= 2)
        yield process
    finally:
        process.kill()
        process.wait(30)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_packing_goes_on_from_its_finished_shards(tmp_path: Path, class_folder: Path, number: int) -> None:
    unfinished = tmp_path / "shards.packing"
    with stalled_packing(tmp_path, class_folder) as process:
        process.send_signal(number)
        process.wait(30)
    finished = {path.stem: path.stat() for path in (unfinished / ".packing").glob("*.json")}
    before = {name: inode for name, inode in inodes(unfinished).items() if name in finished}
    report = pack(config(tmp_path, class_folder, samples_per_shard=2))
    assert report.reused == len(finished) >= 2
    after = inodes(tmp_path / "shards")
    assert {name: after[name] for name in before} == before
    (tmp_path / "b").mkdir()
    pack(config(tmp_path / "b", class_folder, samples_per_shard=2))
    assert contents(tmp_path / "b" / "shards") == contents(tmp_path / "shards")
    assert {path.name for path in tmp_path.iterdir()} == {"source", "shards", "b"}


def test_a_second_packer_is_refused(tmp_path: Path, class_folder: Path) -> None:
    refused = pytest.raises(ConfigError, match=r"shards is being packed by another process .*; wait for it")
    with stalled_packing(tmp_path, class_folder), refused:
        pack(config(tmp_path, class_folder))


def test_other_files_in_the_place_of_the_unfinished_are_not_touched(tmp_path: Path, class_folder: Path) -> None:
    write_files(tmp_path / "shards.packing", {"thesis.tex": b"years"})
    with pytest.raises(ConfigError, match=r"shards.packing is where unfinished shards go, and holds other files; move"):
        pack(config(tmp_path, class_folder))
    assert (tmp_path / "shards.packing" / "thesis.tex").read_bytes() == b"years"


@pytest.mark.skipif(os.getuid() == 0, reason="root writes anywhere")
def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path, class_folder: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError, match=r"cannot be written .*choose another folder"):
        pack(config(tmp_path, class_folder))


def test_what_a_killed_packing_of_the_same_process_id_left_is_no_obstacle(tmp_path: Path, class_folder: Path) -> None:
    """In a container every run has process id 1."""
    for kind in ("packing", "replaced"):
        write_files(tmp_path / f"shards.{kind}-{os.getpid()}", {"train-000000.tar": b"half"})
    for seed in (0, 1):
        pack(config(tmp_path, class_folder), seed=seed)
        assert read_index(tmp_path / "shards").packing["seed"] == seed
