"""Ray's logs of a node: which, how much of them, by whom."""

import subprocess
import sys
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
    assert copied(tmp_path / "nodes")["left-out.txt"] == "worker-1-2.err: the newest 1 files are kept\n"


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
