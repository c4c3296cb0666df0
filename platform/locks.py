"""A lock on something that several processes, of several machines perhaps, would write to.

In: the lock's file. Out: the lock, until the block ends or this process does: the operating system frees what is held.
Where a file system has no locks, a second file beside it is one as long as it exists. One that a dead process of this
machine has left is taken over; of another machine, or of another container, nobody here can tell.
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
NAMESPACE = "?pidns-"  # filelock adds it to the host's name, and the number, where process ids are a container's own
POLL_S = 0.05


class NoLocks(OSError):
    """The file system has no locks. The text names the file; what else to use is known to who asked."""

    def __init__(self, path: Path | str, error: OSError) -> None:
        super().__init__(f"{path} is on a file system without locks ({error.strerror or error})")


class Held(Exception):
    """Somebody else has the lock. The text says who, as far as that is known, and what to do if they are gone.

    Args:
        path: of the lock. One by existence has in it the process and its machine.
        who: has it, where that is known otherwise.
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
    """Hold a lock, waiting for it or not. What it waits for is said.

    Raises:
        Held: somebody has it, and this does not wait.
        OSError: there can be no such file.
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
    """As `locked`, by the operating system alone and silently: for what is held for moments.

    Raises:
        Held: somebody has it, and this does not wait.
        NoLocks: the file system has none.
        OSError: there can be no such file.
    """
    lock = FileLock(path, is_singleton=False, thread_local=False, fallback_to_soft=False)
    with _named(path):
        _acquire(lock, path, wait=wait)
    try:
        yield
    finally:
        lock.release()


def share(file: IO[bytes]) -> None:
    """Hold an open file against `take`, as long as it or a map of it is open. Waits for who has it alone.

    Raises:
        NoLocks: the file system has none.
    """
    with _named(file.name):
        fcntl.flock(file, fcntl.LOCK_SH)


def take(file: IO[bytes]) -> bool:
    """Hold a file, open for writing (NFS asks for that), alone; False: somebody holds it.

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
    """Try the locks of a folder's file system.

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
            if _of_another_start(path):  # filelock would take it for this machine's before it was started anew
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
    """Who has a lock by existence, what of theirs would have to be gone, and whether they are known to live: those of
    this container or, outside of any, of this machine, or else filelock had taken it over.

    Raises:
        OSError, ValueError: it does not say.
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
    """Whether a machine of this name made it, but not since this one was started: that may be another one, alive."""
    with contextlib.suppress(OSError, ValueError):
        _, recorded, token = path.read_text().splitlines()
        here, start, now = socket.gethostname(), int(token) >> 64, _start()
        return recorded.partition(NAMESPACE)[0] == here and 0 not in (start, now) and start != now
    return False


def _start() -> int:
    """A number of its own for each start of a machine, as filelock records it; 0: not known."""
    with contextlib.suppress(OSError, ValueError):
        return int(Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", ""), 16)
    return 0


def _namespace() -> str:
    """The number of this container's process ids, as filelock records it; "": they are the machine's."""
    with contextlib.suppress(OSError):
        number = Path("/proc/self/ns/pid").stat().st_ino
        return "" if number == 0xEFFFFFFC else f"{number:x}"  # the kernel's fixed number of the first one
    return ""
