"""Locks: one holder at a time, also where the file system has none, and nobody is locked out by the dead."""

import contextlib
import errno
import fcntl
import io
import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from platform.locks import SUFFIX, Held, _start, locked

HERE = socket.gethostname()


def host_name() -> str:
    """As filelock writes this machine's, or this container's."""
    namespace = Path("/proc/self/ns/pid").stat().st_ino
    return HERE if namespace == 0xEFFFFFFC else f"{HERE}?pidns-{namespace:x}"


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


def test_waiting_is_said_and_ends_with_the_holder(path: Path) -> None:
    got, printed = threading.Event(), io.StringIO()

    def wait() -> None:
        with locked(path, wait=True):
            got.set()

    with contextlib.redirect_stdout(printed):  # pytest's own loses what comes while it is read
        with locked(path):
            waiting = threading.Thread(target=wait)
            waiting.start()
            while "waiting for" not in printed.getvalue():
                waiting.join(0.05)
            assert not got.is_set()
        waiting.join(30)
    assert got.is_set()


@pytest.fixture
def without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", none)


def _gone() -> int:
    """The id of a process that was."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_where_there_are_no_locks_the_dead_of_this_machine_are_not_in_the_way(
    tmp_path: Path, without_locks: None
) -> None:
    path, file = tmp_path / "lock", tmp_path / f"lock{SUFFIX}"
    for wait in (False, True):
        file.write_text(f"{_gone()}\n{host_name()}\n{_start() << 64 | 5}\n")
        with locked(path, wait=wait):
            assert file.read_text().splitlines()[:2] == [str(os.getpid()), host_name()]
        assert not file.exists()
    file.write_text(f"{_gone()}\nelsewhere\n")
    said = rf"^process \d+ on elsewhere \(if its machine is gone for good, remove {file}\)$"
    with pytest.raises(Held, match=said), locked(path):
        pass
    file.unlink()
    with locked(path):
        pass


@pytest.mark.parametrize("name", [HERE, f"{HERE}?pidns-f00000aa"])
def test_another_machine_of_this_name_may_be_alive(tmp_path: Path, without_locks: None, name: str) -> None:
    path, file = tmp_path / "lock", tmp_path / f"lock{SUFFIX}"
    held = f"{_gone()}\n{name}\n{_start() + 1 << 64 | 5}\n"
    file.write_text(held)
    said = rf"^process \d+ on {HERE}, which was started anew since or is another of that name \(if its process is gone "
    with pytest.raises(Held, match=said), locked(path):
        pass
    assert file.read_text() == held


HOLDER = """
import errno, fcntl, os, sys
from pathlib import Path

def none(*_):
    raise OSError(errno.ENOLCK, "No locks available")

fcntl.flock = none
from platform.locks import Held, locked

try:
    with locked(Path(sys.argv[1])):
        print("has it", flush=True)
        if sys.argv[2] == "dies":
            os._exit(0)
        sys.stdin.read()
except Held as held:
    print(held)
"""


def _holder(path: Path, end: str, *, in_a_container: bool) -> subprocess.Popen[str]:
    """A process that has the lock until its input ends, or dies with it; with process ids of its own."""
    own_ids = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"] if in_a_container else []
    command = [*own_ids, sys.executable, "-c", HOLDER, str(path), end]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _can_unshare() -> bool:
    command = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "true"]
    return shutil.which("unshare") is not None and subprocess.run(command, capture_output=True).returncode == 0


@pytest.mark.skipif(not _can_unshare(), reason="no process ids of its own for a process here")
def test_a_lock_of_another_container_is_named_and_stays_and_one_of_this_is_taken_over(
    tmp_path: Path, without_locks: None
) -> None:
    path, file = tmp_path / "lock", tmp_path / f"lock{SUFFIX}"
    assert _holder(path, "dies", in_a_container=True).communicate()[0] == "has it\n"
    left = file.read_text()
    assert left.startswith(f"1\n{HERE}?pidns-")
    said = rf"process 1 on {HERE}, in another container (if its process is gone for good, remove {file})"
    with pytest.raises(Held) as caught, locked(path):  # process 1 lives here, and is another one
        pass
    assert str(caught.value) == said
    assert file.read_text() == left
    file.unlink()
    with locked(path):
        where = "outside of this container" if host_name() == HERE else "in another container"
        said = f"process {os.getpid()} on {HERE}, {where} (if its process is gone for good, remove {file})"
        assert _holder(path, "stays", in_a_container=True).communicate()[0].strip() == said
        assert (
            _holder(path, "stays", in_a_container=False).communicate()[0].strip() == f"process {os.getpid()} on {HERE}"
        )


@pytest.mark.parametrize(("host", "remedy"), [(HERE, False), (f"{HERE}0", True), ("elsewhere", True)])
def test_the_remedy_is_for_holders_of_other_machines(tmp_path: Path, host: str, remedy: bool) -> None:
    said = str(Held(tmp_path / "lock", f"process 5 on {host} since today"))
    assert ("is gone for good" in said) == remedy
