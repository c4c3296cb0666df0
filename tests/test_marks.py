"""Marks of a timeline: written where somebody records, never in the way."""

import os
import time
from pathlib import Path

import pytest

from platform.marks import FILE, mark


def test_without_a_recording_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(FILE, raising=False)
    mark("first step")
    assert list(tmp_path.iterdir()) == []


def test_each_is_a_line_with_the_time_and_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FILE, str(tmp_path / "marks"))
    before = time.time()
    mark("one")
    mark("another")
    lines = [line.split("\t") for line in (tmp_path / "marks").read_text().splitlines()]
    assert [line[1:] for line in lines] == [[str(os.getpid()), "one"], [str(os.getpid()), "another"]]
    assert all(before - 0.001 <= float(line[0]) <= time.time() + 0.001 for line in lines)


def test_on_a_machine_without_that_folder_the_process_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FILE, str(tmp_path / "of another machine" / "marks"))
    mark("first step")
    assert list(tmp_path.iterdir()) == []
