"""Changes beside a file: whole lines again, whatever a kill or a full disk left."""

import errno
import json
import os
from pathlib import Path

import pytest

from platform.changes import append_change, forget_changes, read_changes, read_with_changes
from platform.files import write_atomically
from tests.counting import cost_of


def test_changes_are_read_in_order_and_forgotten(tmp_path: Path):
    path = tmp_path / "changes.jsonl"
    assert read_changes(path) == []
    for number in range(3):
        append_change(path, {"number": number, "text": "\n é"})
    assert [change["number"] for change in read_changes(path)] == [0, 1, 2]
    forget_changes(path)
    forget_changes(path)
    assert read_changes(path) == []


@pytest.mark.parametrize("cut", range(1, 8))
def test_a_line_that_a_kill_cut_off_never_was_and_does_not_spoil_the_next(tmp_path: Path, cut: int):
    path = tmp_path / "changes.jsonl"
    append_change(path, 111)
    append_change(path, "2345")
    os.truncate(path, path.stat().st_size - cut)
    assert read_changes(path) == [111]
    append_change(path, [3])
    assert read_changes(path) == [111, [3]]


def test_a_whole_line_that_is_damaged_is_an_error(tmp_path: Path):
    path = tmp_path / "changes.jsonl"
    path.write_text('{"a": 1}\n{"a": \n{"a": 3}\n')
    with pytest.raises(ValueError, match="Expecting value"):
        read_changes(path)


def test_what_a_full_disk_took_half_of_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "changes.jsonl"
    append_change(path, 1)
    real = os.write

    def half_then_full(file: int, data: bytes) -> int:
        if len(data) < 10:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(file, data[: len(data) // 2])

    monkeypatch.setattr(os, "write", half_then_full)
    with pytest.raises(OSError, match="No space left"):
        append_change(path, "a line of more than ten letters")
    monkeypatch.undo()
    assert path.read_text() == "1\n"


def test_a_file_that_is_written_whole_while_it_is_read_is_read_again(tmp_path: Path):
    """Without it the reader would have the old file, and none of the changes that the new one holds."""
    whole, path = tmp_path / "whole.json", tmp_path / "changes.jsonl"
    write_atomically(whole, "[1]")
    append_change(path, 2)
    times = 0

    def both() -> list[int]:
        nonlocal times
        times += 1
        found = json.loads(whole.read_text())
        if times == 1:
            write_atomically(whole, "[1, 2]")
            forget_changes(path)
        return found + read_changes(path)

    assert read_with_changes(whole, both) == [1, 2]
    assert times == 2


def test_a_change_costs_its_own_line(tmp_path: Path):
    path = tmp_path / "changes.jsonl"
    costs = []
    for _ in range(500):
        costs.append(cost_of(lambda: append_change(path, "always the same"), tmp_path))
    assert {(cost.opens, cost.bytes_written) for cost in costs} == {(1, len('"always the same"\n'))}
