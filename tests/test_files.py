"""Files that are whole or not there, also where writers share a name, a folder and, as pods do, a process id."""

import multiprocessing
import os
import threading
from pathlib import Path
from typing import Any

import pytest

import platform.files as files
from platform.files import replacing, write_atomically

WRITES = 150


def _write_often(path: Path, letter: str, begin: Any) -> None:
    os.getpid = lambda: 1  # what each container counts
    files.TRIES = 1
    begin.wait()
    for _ in range(WRITES):
        write_atomically(path, letter * 1000)


def test_two_writers_of_the_same_process_id_replace_one_file(tmp_path: Path) -> None:
    path, context = tmp_path / "state.json", multiprocessing.get_context("fork")
    begin = context.Barrier(2)
    writers = [context.Process(target=_write_often, args=(path, letter, begin)) for letter in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert path.read_text() in ("a" * 1000, "b" * 1000)
    assert list(tmp_path.iterdir()) == [path]


def test_one_who_tidies_up_meanwhile_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    swept = []

    def sync(path: Path) -> None:
        if not swept:
            swept.append(path)
            files.remove_unfinished(tmp_path)

    monkeypatch.setattr(files, "_sync", sync)
    write_atomically(tmp_path / "state.json", "whole")
    assert swept
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"state.json": "whole"}


def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    write_atomically(path, "old")
    with pytest.raises(FileNotFoundError), replacing(path) as unfinished:
        unfinished.write_text(Path(tmp_path / "absent").read_text())
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        write_atomically(tmp_path / "folder", "a folder is in its place")
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "nowhere" / "file", "")
    assert {path.name for path in tmp_path.iterdir()} == {"table.csv", "folder"}
    assert path.read_text() == "old"


def test_threads_of_one_process_have_names_of_their_own_too(tmp_path: Path) -> None:
    path, failed = tmp_path / "live.json", []

    def write(content: bytes) -> None:
        try:
            for _ in range(50):
                write_atomically(path, memoryview(content))
        except OSError as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(letter * 9,)) for letter in (b"a", b"b", b"c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert len(path.read_bytes()) == 9
