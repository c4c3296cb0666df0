"""Ray's logs of a node: which, how much of them, by whom."""

import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from platform.cluster import node_logs
from platform.cluster.node_logs import NodeLogs


@pytest.fixture
def rays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "session_2026-01-01" / "logs"
    folder.mkdir(parents=True)
    monkeypatch.setattr(node_logs, "log_folder", lambda: folder)
    monkeypatch.setattr(node_logs, "EVERY_S", 1000.0)
    return folder


def copied(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in folder.rglob("*") if file.is_file()}


def test_the_ends_of_what_somebody_said_are_copied(rays: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(node_logs, "FILE_BYTES", 30)
    (rays / "raylet.out").write_text("a long line that is left out\nmemory is short, killed\n")
    (rays / "worker-1-2.err").write_text(":job_id:1\nsecret\n")
    (rays / "worker-1-2.out").write_text(":job_id:1\n")
    (rays / "events.log").write_text("not asked for\n")
    logs = NodeLogs(tmp_path / "nodes", lambda text: text.replace("secret", "***"))
    logs.stop()
    assert copied(tmp_path / "nodes") == {
        "raylet.out": "(29 bytes before this are left out)\nmemory is short, killed\n",
        "worker-1-2.err": ":job_id:1\n***\n",
    }
    (place,) = (tmp_path / "nodes").iterdir()
    assert place.name.endswith("-2026-01-01")


def test_files_beyond_the_newest_are_named(rays: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(node_logs, "NODE_FILES", 1)
    (rays / "worker-1-2.err").write_text("old\n")
    logs = NodeLogs(tmp_path / "nodes", str)
    logs.copy()
    (rays / "worker-3-4.err").write_text("new\n")
    logs.stop()
    assert copied(tmp_path / "nodes") == {
        "worker-3-4.err": "new\n",
        "left-out.txt": "worker-1-2.err: the newest 1 files are kept\n",
    }


def test_one_process_copies_and_the_next_takes_over_when_it_dies(rays: Path, tmp_path: Path):
    hold = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print(1, flush=True); input()"
    other = subprocess.Popen(
        [sys.executable, "-c", hold, rays / node_logs.LOCK], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdout
    other.stdout.readline()
    (rays / "worker-1-2.err").write_text("last words\n")
    logs = NodeLogs(tmp_path / "nodes", str)
    logs.copy()
    assert copied(tmp_path) == {"worker-1-2.err": "last words\n", node_logs.LOCK: ""}  # Ray's own only
    other.kill()
    other.wait()
    logs.stop()
    (place,) = (tmp_path / "nodes").iterdir()
    assert copied(place) == {"worker-1-2.err": "last words\n"}


def test_only_what_is_new_is_read_and_by_whole_lines(rays: Path, tmp_path: Path):
    masked, log = list[str](), rays / "raylet.out"

    def mask(line: str) -> str:
        masked.append(line)
        return line

    logs = NodeLogs(tmp_path / "nodes", mask)
    for text in ("one\n", "two\nhalf of a pass", "word\n", "the last"):
        with log.open("a") as file:
            file.write(text)
        logs.copy()
    assert masked == ["one\n", "two\n", "half of a password\n"]
    logs.copy()  # nothing came after it
    assert copied(tmp_path / "nodes") == {"raylet.out": log.read_text()}
    logs.stop()
    assert masked[3:] == ["the last"]


def test_a_copy_is_bounded_however_long_the_log_grows(rays: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(node_logs, "FILE_BYTES", 100)
    logs, log, sizes = NodeLogs(tmp_path / "nodes", str), rays / "raylet.out", list[int]()
    for number in range(100):
        with log.open("a") as file:
            file.write(f"line {number:04}\n")
        logs.copy()
        sizes.append(len(copied(tmp_path / "nodes")["raylet.out"]))
    assert max(sizes) <= 250
    said, *lines = copied(tmp_path / "nodes")["raylet.out"].splitlines(keepends=True)
    assert log.read_text().endswith("".join(lines))
    assert said == f"({len(log.read_text()) - len(''.join(lines))} bytes before this are left out)\n"
    logs.stop()


def test_the_next_process_keeps_what_the_dead_one_copied_in_its_place(rays: Path, tmp_path: Path):
    (rays / "raylet.out").write_text("one\n")
    NodeLogs(tmp_path / "nodes", str).stop()
    (rays / "raylet.out").write_text("one\ntwo")
    logs = NodeLogs(tmp_path / "nodes", str)
    logs.copy()
    logs.stop()
    assert copied(tmp_path / "nodes") == {"raylet.out": "one\ntwo"}


def test_nodes_beyond_so_many_are_removed_the_silent_ones_first(
    rays: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(node_logs, "MOST_NODES", 3)
    for node, when in (("a", 30), ("b", 10), ("c", 20)):
        (tmp_path / "nodes" / node).mkdir(parents=True)
        (tmp_path / "nodes" / node / "raylet.out").write_text("earlier\n")
        os.utime(tmp_path / "nodes" / node / "raylet.out", (when, when))
    (rays / "raylet.out").write_text("now\n")
    NodeLogs(tmp_path / "nodes", str).stop()
    names = sorted(each.name for each in (tmp_path / "nodes").iterdir() if each.is_dir())
    assert (names[:2], len(names)) == (["a", "c"], 3)
    assert (tmp_path / "nodes" / "left-out.txt").read_text() == "b: removed, as 3 nodes are kept\n"


def test_what_is_left_out_is_named_also_where_nothing_was_copied_yet(
    rays: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(node_logs, "NODE_FILES", 0)
    (rays / "worker-1-2.err").write_text("old\n")
    NodeLogs(tmp_path / "nodes", str).stop()
    assert copied(tmp_path / "nodes") == {"left-out.txt": "worker-1-2.err: the newest 0 files are kept\n"}


def test_an_error_of_any_kind_is_said_once_and_costs_the_copies_only(
    rays: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    def broken(_: str) -> str:
        raise KeyError("taken away by another thread")

    (rays / "raylet.out").write_text("now\n")
    logs = NodeLogs(tmp_path / "nodes", broken)
    logs.copy()
    logs.stop()
    assert [record.getMessage().count("not copied") for record in caplog.records] == [1]


def test_a_volume_that_hangs_holds_up_nobody(
    rays: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    hangs = threading.Event()

    def hang(line: str) -> str:
        hangs.wait()
        return line

    monkeypatch.setattr(node_logs, "LAST_S", 0.01)
    (rays / "raylet.out").write_text("now\n")
    logs = NodeLogs(tmp_path / "nodes", hang)
    with caplog.at_level(logging.WARNING):
        node_logs.copy_now()
        logs.stop()
    assert "took nothing for 0.01 s" in caplog.text
    hangs.set()
