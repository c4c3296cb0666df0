"""Locks between processes, also of several machines on a shared file system.

In: the lock's file. Out: the lock, until the block or the process ends: the operating system frees a dead process's.
On a file system without locks, a second file is the lock as long as it exists. One that a dead process of this machine
has left is taken over; whether a process of another machine or container is alive cannot be known.
"""

import contextlib
import errno
import fcntl
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)  # NFS, Lustre, FUSE without any
SUFFIX = ".held"
NAMESPACE = "?pidns-"  # filelock appends it and a number to the host's name inside a container
POLL_S = 0.05


class NoLocks(OSError):
    """The file system has no locks. The message names the file; the caller adds what else to use."""

    def __init__(self, path: Path | str, error: OSError) -> None:
        super().__init__(f"{path} is on a file system without locks ({error.strerror or error})")


class Held(Exception):
    """Another process has the lock. The message says which, if known, and what to do if it is dead.

    Args:
        path: of the lock; a lock by existence names its process and machine in the file.
        who: has the lock, if known in another way.
    """

    def __init__(self, path: Path, who: str = "") -> None:
        what, lives = "machine", f" on {socket.gethostname()} " in f"{who} "
        with contextlib.suppress(OSError, ValueError):
            if path.name.endswith(SUFFIX):
                who, what, lives = _holder(path)
        remedy = "" if lives else f" (if its {what} is gone for good, remove {path})"
        super().__init__(f"{who or 'another process'}{remedy}")
        self.path = path


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold a lock for the time of the block.

    Args:
        path: of the lock's file, which is made.
        wait: for its present holder, which is printed; else raise `Held`.

    Raises:
        Held: another process has it, and `wait` is false.
        OSError: the file cannot be made.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked_by_system(path, wait=False))
        except Held as held:
            if not wait:
                raise
            print(f"waiting for {held}", flush=True)
            stack.enter_context(locked_by_system(path))
        except NoLocks:
            stack.enter_context(_locked_by_existence(path.with_name(path.name + SUFFIX), wait=wait))
        yield


@contextlib.contextmanager
def locked_by_system(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold a lock of the operating system, without a message while waiting: for locks that are held for milliseconds.

    Raises:
        Held: another process has it, and `wait` is false.
        NoLocks: the file system has none.
        OSError: the file cannot be made.
    """
    lock = FileLock(path, is_singleton=False, thread_local=False, fallback_to_soft=False)
    with _named(path):
        _acquire(lock, path, wait=wait)
    try:
        yield
    finally:
        lock.release()


def share(file: IO[bytes]) -> None:
    """Take a shared lock on an open file, until it and all memory maps of it are closed; waits for an exclusive one.

    Raises:
        NoLocks: the file system has none.
    """
    with _named(file.name):
        fcntl.flock(file, fcntl.LOCK_SH)


def take(file: IO[bytes]) -> bool:
    """Try to take an exclusive lock on a file that is open for writing (which NFS requires); False: it is locked.

    Raises:
        NoLocks: the file system has none.
    """
    try:
        with _named(file.name):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def require_locks(folder: Path) -> None:
    """Check that a folder's file system has locks.

    Raises:
        NoLocks: it has none.
        OSError: nothing can be written there.
    """
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".lock-") as file:
        share(file)
        take(file)


@contextlib.contextmanager
def _named(path: Path | str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in NO_LOCKS:
            raise NoLocks(path, error) from error
        raise


def _acquire(lock: BaseFileLock, path: Path, *, wait: bool) -> None:
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        raise Held(path) from None


@contextlib.contextmanager
def _locked_by_existence(path: Path, *, wait: bool) -> Iterator[None]:
    lock, said = SoftFileLock(path, is_singleton=False), False
    while True:
        try:
            if _of_another_start(path):  # filelock would take it for a dead process's of this machine
                raise Held(path)
            _acquire(lock, path, wait=False)
            break
        except Held as held:
            if not wait:
                raise
            if not said:
                print(f"waiting for {held}", flush=True)
            said = True
            time.sleep(POLL_S)
    try:
        yield
    finally:
        lock.release()


def _holder(path: Path) -> tuple[str, str, bool]:
    """The holder of a lock by existence: a description, what must be dead before the file may be removed (`process` or
    `machine`), and whether it is known to be alive. That is known inside this container, or on this machine outside of
    any: filelock takes over the locks of dead ones.

    Raises:
        OSError, ValueError: the file does not tell.
    """
    process, recorded = path.read_text().splitlines()[:2]
    host, _, namespace = recorded.partition(NAMESPACE)
    who = f"process {process} on {host}"
    if host != socket.gethostname():
        return who, "machine", False
    if _of_another_start(path):
        return f"{who}, which was started anew since or is another of that name", "process", False
    if namespace != _namespace():
        return f"{who}, {'in another container' if namespace else 'outside of this container'}", "process", False
    return who, "process", True


def _of_another_start(path: Path) -> bool:
    """Whether a machine of this name made the lock before this one was booted: it may be another machine, alive."""
    with contextlib.suppress(OSError, ValueError):
        _, recorded, token = path.read_text().splitlines()
        here, start, now = socket.gethostname(), int(token) >> 64, _start()
        return recorded.partition(NAMESPACE)[0] == here and 0 not in (start, now) and start != now
    return False


def _start() -> int:
    """The id of this machine's boot as filelock records it; 0: not known."""
    with contextlib.suppress(OSError, ValueError):
        return int(Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", ""), 16)
    return 0


def _namespace() -> str:
    """The number of this container's PID namespace as filelock records it; "": it is the machine's own."""
    with contextlib.suppress(OSError):
        number = Path("/proc/self/ns/pid").stat().st_ino
        return "" if number == 0xEFFFFFFC else f"{number:x}"  # the kernel's fixed number of the first one
    return ""
