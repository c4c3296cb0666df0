"""A read that hangs is warned of with its file, and known to whoever ends a stalled process.

A pipe that nobody writes to stands for a file system that does not answer: opening it waits.
"""

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from platform.config.data import StorageConfig
from platform.data import index, reader, storage
from platform.data.cache import MemoryCache, ShardError, ShardFile
from platform.data.index import read_index
from platform.data.reader import CLS, OpenShards
from platform.data.reads import Reads
from platform.data.reads import reads as reads_of_this_process
from platform.data.storage import Storage
from tests.data.handmade import MakeShards, two_shards

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    """Those of this process, which are slow at once."""
    made = Reads(slow_s=0.02, look_every_s=0.01)
    for module in (index, reader, storage):
        monkeypatch.setattr(module, "reads", made)
    return made


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "train-000000.tar"
    os.mkfifo(path)
    return path


def wait_for_a_warning(caplog: pytest.LogCaptureFixture, file: Path) -> None:
    while f"reading {file} has" not in caplog.text:  # the test has a limit
        time.sleep(0.01)


def test_a_shard_whose_opening_hangs_is_named_and_the_read_ends_with_it(
    reads: Reads, pipe: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opened, errors = OpenShards(MemoryCache(Storage(StorageConfig()), 0), CLS), []

    def read() -> None:
        try:
            opened.reader(ShardFile(str(pipe), 1, 1024, ""))
        except ShardError as error:
            errors.append(str(error))

    reading = threading.Thread(target=read, daemon=True)
    reading.start()
    wait_for_a_warning(caplog, pipe)
    found = reads.longest()
    assert found
    assert found.name == str(pipe)
    os.close(os.open(pipe, os.O_WRONLY))  # the server is back
    reading.join()
    assert errors == [f"shard {pipe} has 0 bytes, its index says 1024; copy it again"]
    assert reads.longest() is None
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage().startswith(f"reading {pipe} has taken ")


def test_a_small_file_that_hangs_is_named_too(reads: Reads, pipe: Path, caplog: pytest.LogCaptureFixture) -> None:
    reading = threading.Thread(target=lambda: Storage(StorageConfig()).read(str(pipe)), daemon=True)
    reading.start()
    wait_for_a_warning(caplog, pipe)
    os.close(os.open(pipe, os.O_WRONLY))
    reading.join()
    assert f"reading {pipe} has taken" in caplog.text


def test_the_check_of_all_shards_names_the_one_that_it_is_at(
    reads: Reads, make_shards: MakeShards, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder, usual = two_shards(make_shards), os.stat

    def hangs_at_the_second(path: str | Path, **options: Any) -> os.stat_result:
        if str(path).endswith("train-000001.tar"):
            wait_for_a_warning(caplog, folder / "train-000001.tar")
        return usual(path, **options)

    monkeypatch.setattr(index.os, "stat", hangs_at_the_second)
    read_index(folder)
    assert reads.longest() is None


def test_what_ends_in_time_is_not_told_and_the_thread_that_looks_ends(caplog: pytest.LogCaptureFixture) -> None:
    reads = Reads(slow_s=60, look_every_s=0.01)
    with reads.under_way("one") as read, reads.under_way("two"):
        assert reads.longest() is read.now
        read.goes_on_to("another")
        longest = reads.longest()
        assert longest
        assert longest.name == "two"
        watch = reads._watch
        assert watch
        assert watch.daemon
        time.sleep(0.05)
    watch.join()
    assert not caplog.records
    with reads.under_way("three"):
        assert reads._watch is not watch


def test_a_forked_process_reads_none_of_its_parents_files() -> None:
    with reads_of_this_process.under_way("a file"):
        pid = os.fork()
        if pid == 0:
            os._exit(0 if reads_of_this_process.longest() is None else 1)
        assert os.waitpid(pid, 0)[1] == 0
