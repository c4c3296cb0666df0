"""Locks: one holder at a time, also where the file system has none, and nobody is locked out by the dead."""

import errno
import fcntl
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from platform.locks import SUFFIX, Held, locked

HERE = socket.gethostname()


@pytest.fixture(params=[None, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def path(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a file system with locks, and of some without."""

    def none(*_: object) -> None:
        raise OSError(request.param, os.strerror(request.param))

    if request.param is not None:
        monkeypatch.setattr(fcntl, "flock", none)
    return tmp_path / "lock"


def test_one_at_a_time(path: Path) -> None:
    for _ in range(2):
        with locked(path):
            with pytest.raises(Held), locked(path):
                pass
            with pytest.raises(Held), locked(path):  # being refused took nothing from the holder
                pass


def test_waiting_is_said_and_ends_with_the_holder(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    got = threading.Event()

    def wait() -> None:
        with locked(path, wait=True):
            got.set()

    with locked(path):
        waiting = threading.Thread(target=wait)
        waiting.start()
        while "waiting for" not in capfd.readouterr().out:
            waiting.join(0.05)
        assert not got.is_set()
    waiting.join(30)
    assert got.is_set()


def _gone() -> int:
    """The id of a process that was."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_where_there_are_no_locks_the_dead_of_this_machine_are_not_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", none)
    path, file = tmp_path / "lock", tmp_path / f"lock{SUFFIX}"
    file.write_text(f"{_gone()}\n{HERE}\n")
    with locked(path):
        assert file.read_text().splitlines()[:2] == [str(os.getpid()), HERE]
    assert not file.exists()
    file.write_text(f"{_gone()}\nelsewhere\n")
    said = rf"^process \d+ on elsewhere \(if its machine is gone for good, remove {file}\)$"
    with pytest.raises(Held, match=said), locked(path):
        pass
    file.unlink()
    with locked(path):
        pass


@pytest.mark.parametrize(("host", "remedy"), [(HERE, False), (f"{HERE}0", True), ("elsewhere", True)])
def test_the_remedy_is_for_holders_of_other_machines(tmp_path: Path, host: str, remedy: bool) -> None:
    said = str(Held(tmp_path / "lock", f"process 5 on {host} since today"))
    assert ("is gone for good" in said) == remedy
