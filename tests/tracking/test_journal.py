"""The journal: every entry once or twice in order, none lost, whatever dies when."""

import errno
import functools
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import platform.tracking.journal as journal_module
from platform.tracking.journal import Entry, Journal
from tests.counting import cost_of


def contents(entries: list[Entry]) -> list[int]:
    return [entry.content["value"] for entry in entries]


def test_entries_come_in_order_until_they_are_delivered(tmp_path: Path):
    journal = Journal(tmp_path / "j.jsonl")
    for value in range(5):
        journal.append({"value": value})
    assert contents(journal.read(3)) == [0, 1, 2]
    assert contents(journal.read(3)) == [0, 1, 2]
    journal.delivered(journal.read(3)[-1].number, {"seen": "three"})
    assert contents(journal.read(10)) == [3, 4]
    assert journal.waiting == 2
    again = Journal(tmp_path / "j.jsonl")
    assert contents(again.read(10)) == [3, 4]
    assert again.waiting == 2
    assert again.notes == {"seen": "three"}


def test_opening_writes_nothing(tmp_path: Path):
    assert Journal(tmp_path / "nowhere" / "j.jsonl").waiting == 0
    assert list(tmp_path.iterdir()) == []


def test_a_torn_last_line_is_cut_off(tmp_path: Path):
    path = tmp_path / "j.jsonl"
    journal = Journal(path)
    journal.append({"value": 0})
    with path.open("ab") as file:
        file.write(b'{"n": 2, "val')
    again = Journal(path)
    again.append({"value": 1})
    assert contents(again.read(10)) == [0, 1]
    assert [json.loads(line)["n"] for line in path.read_text().splitlines()] == [1, 2]


def test_a_spoilt_line_in_the_middle_is_passed_over(tmp_path: Path):
    path = tmp_path / "j.jsonl"
    journal = Journal(path)
    for value in range(3):
        journal.append({"value": value})
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"\0" * 10 + b"\n" + lines[2])
    assert contents(Journal(path).read(10)) == [0, 2]


def test_it_is_emptied_once_all_is_delivered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(journal_module, "EMPTIED_ABOVE", 1000)
    journal = Journal(tmp_path / "j.jsonl")
    for value in range(100):
        journal.append({"value": value})
    journal.delivered(99, {})
    assert journal.path.stat().st_size > 1000
    journal.delivered(100, {})
    assert journal.path.stat().st_size == 0
    journal.append({"value": 100})
    assert contents(journal.read(10)) == contents(Journal(journal.path).read(10)) == [100]


@pytest.mark.parametrize("count", [200, 800])
def test_it_does_not_grow_where_an_entry_always_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """With many members more comes while a batch is delivered. All cuts together cost no more than writing did."""
    monkeypatch.setattr(journal_module, "CUT_ABOVE", 1000)
    journal, longest, seen, cut = Journal(tmp_path / "j.jsonl"), 0, [], 0
    journal.append({"value": 0})
    for value in range(1, count):
        entries, before = journal.read(1000), journal.path.stat()
        seen += contents(entries)
        journal.append({"value": value})
        journal.delivered(entries[-1].number, {})
        if journal.path.stat().st_ino != before.st_ino:
            cut += journal.path.stat().st_size
        longest = max(longest, journal.path.stat().st_size)
    assert longest < 2500
    assert 0 < cut < 22 * count  # bytes; the lines have 22 each
    assert seen == list(range(count - 1))
    assert contents(Journal(journal.path).read(10)) == [count - 1]


def test_a_cut_that_the_disk_refuses_leaves_the_journal_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "CUT_ABOVE", 10)
    journal = Journal(tmp_path / "j.jsonl")
    for value in range(10):
        journal.append({"value": value})
    monkeypatch.setattr(journal_module.shutil, "copyfileobj", _full)
    for number in (8, 9):
        journal.read(10)
        journal.delivered(number, {})
    assert contents(journal.read(10)) == contents(Journal(journal.path).read(10)) == [9]
    assert [path.name for path in tmp_path.iterdir() if "unfinished" in path.name] == []


def _full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_beside_file_that_cannot_be_read_has_all_delivered_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    journal = Journal(tmp_path / "j.jsonl")
    journal.append({"value": 0})
    journal.delivered(1, {"a": 1})
    (tmp_path / "j.delivered.json").write_text("{")
    again = Journal(journal.path)
    assert contents(again.read(10)) == [0]
    assert again.notes == {}
    assert "is delivered anew" in caplog.text


@pytest.mark.parametrize("damage", ["3\n", "[]\n", "{\n", '{"delivered": 1}\n', '{"delivered": 1, "notes": {}}\nx\n'])
def test_what_is_damaged_beside_is_written_anew_and_not_added_to(tmp_path: Path, damage: str):
    (tmp_path / "j.delivered.json").write_text(damage)
    journal = Journal(tmp_path / "j.jsonl")
    journal.append({"value": 0})
    journal.delivered(1, {"a": 1})
    assert Journal(journal.path).notes == {"a": 1}
    assert Journal(journal.path).waiting == 0


def test_a_file_beside_of_one_line_as_it_used_to_be_is_gone_on_with(tmp_path: Path):
    (tmp_path / "j.delivered.json").write_text('{"delivered": 3, "notes": {"a": {"id": "x"}, "b": {"id": "y"}}}\n')
    journal = Journal(tmp_path / "j.jsonl")
    journal.append({"value": 3})
    journal.delivered(4, {"b": {"id": "z"}})
    with (tmp_path / "j.delivered.json").open("a") as file:
        file.write('{"delivered": 9, "no')  # killed here
    again = Journal(journal.path)
    assert again.notes == {"a": {"id": "x"}, "b": {"id": "z"}}
    again.append({"value": 4})
    assert contents(again.read(9)) == [4]


def test_saying_what_is_delivered_costs_what_is_new(tmp_path: Path):
    """However many runs a sweep has had."""
    costs = []
    for runs in (10, 1000):
        folder = tmp_path / str(runs)
        journal = Journal(folder / "j.jsonl")
        for run in range(runs):
            journal.append({"value": run})
        journal.delivered(runs, {f"run{run}": {"newest": run} for run in range(runs)})
        say = functools.partial(journal.delivered, runs, {"run7": {"newest": 99}})
        costs.append([cost_of(say, folder) for _ in range(20)])
        assert Journal(journal.path).notes == {f"run{n}": {"newest": 99 if n == 7 else n} for n in range(runs)}
    (few, *_), many = costs
    assert {cost.opens for cost in many} == {few.opens} == {1}
    assert all(cost.bytes_written <= few.bytes_written + 10 for cost in many)


def test_the_file_beside_stays_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(journal_module, "SHORTENED_ABOVE", 1000)
    journal = Journal(tmp_path / "j.jsonl")
    journal.append({"value": 0})
    beside, sizes = tmp_path / "j.delivered.json", []
    for number in range(500):
        journal.delivered(1, {f"run{number % 50}": number})
        sizes.append(beside.stat().st_size)
    assert max(sizes) < 2500
    assert sum(after < before for before, after in zip(sizes, sizes[1:], strict=False)) < 100
    assert Journal(journal.path).notes == {f"run{number % 50}": number for number in range(500)}


def test_what_the_disk_did_not_take_is_noted_with_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    journal = Journal(tmp_path / "j.jsonl")
    for value in range(3):
        journal.append({"value": value})
    journal.delivered(1, {"a": 1})
    with monkeypatch.context() as full:
        full.setattr(journal_module, "append_change", refuse)
        journal.delivered(2, {"b": 2})
    journal.delivered(3, {"c": 3})
    assert Journal(journal.path).notes == {"a": 1, "b": 2, "c": 3}


def refuse(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@settings(deadline=None)  # it syncs files to the disk
@given(st.lists(st.sampled_from(["append", "deliver", "reopen", "torn", "forget"]), max_size=60), st.integers(1, 5))
def test_whatever_dies_when_every_entry_is_read_in_order_and_none_is_lost(steps: list[str], limit: int):
    """`forget`: the process died after it had delivered and before it noted so."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal_module, "EMPTIED_ABOVE", 100)
        patch.setattr(journal_module, "CUT_ABOVE", 50)
        path = Path(folder) / "j.jsonl"
        journal, appended, received = Journal(path), 0, []
        for step in [*steps, "reopen", *["deliver"] * (len(steps) + 1)]:
            if step == "append":
                journal.append({"value": appended})
                appended += 1
            elif step == "deliver":
                entries = journal.read(limit)
                assert len(entries) == min(limit, journal.waiting)
                if entries:
                    received += contents(entries)
                    journal.delivered(entries[-1].number, {"received": len(received)})
            elif step == "forget":
                received += contents(journal.read(limit))
                journal = Journal(path)
            else:
                if step == "torn" and appended:
                    with path.open("ab") as file:
                        file.write(b'{"n": 99')
                journal = Journal(path)
            assert journal.waiting <= appended
        assert journal.waiting == 0
        assert list(dict.fromkeys(received)) == list(range(appended))  # first times in order, none missing
        if "forget" not in steps:
            assert received == list(range(appended))


def test_a_full_disk_keeps_entries_in_memory_until_there_is_room(tmp_path: Path):
    """A limit on the size of files makes the kernel cut and refuse writes as a full disk does."""
    script = """
import logging, resource, sys
from pathlib import Path
from platform.tracking.journal import Journal
logging.basicConfig(format="%(message)s", stream=sys.stdout)
journal = Journal(Path(sys.argv[1]))
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
for value in range(20):
    journal.append({"value": value})
print("on disk", len(Path(sys.argv[1]).read_text().splitlines()), "waiting", journal.waiting)
print("read", [entry.content["value"] for entry in journal.read(100)])
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
journal.append({"value": 20})
"""
    path = tmp_path / "j.jsonl"
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.count("cannot be written (") == 1
    assert "on disk 4 waiting 20" in done.stdout
    assert f"read {list(range(20))}" in done.stdout
    assert contents(Journal(path).read(100)) == list(range(21))


def test_what_was_delivered_from_memory_is_not_read_again(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """A folder in the file's place: the disk takes nothing."""
    caplog.set_level(logging.WARNING)
    path = tmp_path / "j.jsonl"
    journal = Journal(path)
    path.mkdir()
    for value in range(3):
        journal.append({"value": value})
    assert "cannot be written" in caplog.text
    journal.delivered(2, {})
    assert journal.waiting == 1
    journal.delivered(3, {})
    assert journal.waiting == 0
    path.rmdir()
    journal.append({"value": 3})
    assert contents(journal.read(10)) == contents(Journal(path).read(10)) == [3]


@pytest.mark.parametrize("after_s", [0.01, 0.05, 0.2])
def test_a_killed_process_loses_nothing_it_has_appended(tmp_path: Path, after_s: float):
    script = """
import os, sys
from pathlib import Path
from platform.tracking.journal import Journal
journal = Journal(Path(sys.argv[1]))
for value in range(10**9):
    journal.append({"value": value})
    os.write(1, b"%d\\n" % value)
"""
    path = tmp_path / "j.jsonl"
    process = subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(after_s)
    os.kill(process.pid, signal.SIGKILL)
    said = process.communicate()[0].splitlines()
    kept = contents(Journal(path).read(10**9))
    assert kept == list(range(len(kept)))
    assert len(kept) >= int(said[-1]) + 1


def test_who_only_reads_leaves_a_line_that_is_being_written(tmp_path: Path):
    path = tmp_path / "tracking.jsonl"
    writer = Journal(path)
    writer.append({"do": "first"})
    with path.open("a") as file:
        file.write('{"n": 2, "do": ')
    content = path.read_bytes()
    assert Journal(path, for_reading=True).waiting == 1
    assert path.read_bytes() == content
    assert Journal(path).waiting == 1
    assert path.read_bytes() != content
