"""A lock on something that several processes, of several machines perhaps, would write to.

In: the lock's file. Out: the lock, until the block ends or this process does: the operating system frees what is held.
Where a file system has no locks, a second file beside it is one as long as it exists. One that a dead process of this
machine has left is taken over; of another machine nobody here can tell.
"""

import contextlib
import errno
import socket
from collections.abc import Iterator
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)  # NFS, Lustre, FUSE without any
SUFFIX = ".held"


class Held(Exception):
    """Somebody else has the lock. The text says who, as far as that is known, and what to do if they are gone.

    Args:
        path: of the lock. One by existence has in it the process and its machine.
        who: has it, where that is known otherwise.
    """

    def __init__(self, path: Path, who: str = "") -> None:
        with contextlib.suppress(OSError, ValueError):
            if path.name.endswith(SUFFIX):
                process, host = path.read_text().splitlines()[:2]
                who = f"process {process} on {host}"
        here = f" on {socket.gethostname()} " in f"{who} "  # then it lives
        remedy = "" if here else f" (if its machine is gone for good, remove {path})"
        super().__init__(f"{who or 'another process'}{remedy}")
        self.path = path


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold a lock, waiting for it or not. What it waits for is said.

    Raises:
        Held: somebody has it, and this does not wait.
        OSError: there can be no such file.
    """
    lock = _acquired(path, wait=wait)
    try:
        yield
    finally:
        lock.release()


def _acquired(path: Path, *, wait: bool) -> BaseFileLock:
    lock: BaseFileLock = FileLock(path, is_singleton=False, fallback_to_soft=False)
    try:
        _acquire(lock, path, wait=wait)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        path = path.with_name(path.name + SUFFIX)
        lock = SoftFileLock(path, is_singleton=False)
        _acquire(lock, path, wait=wait)
    return lock


def _acquire(lock: BaseFileLock, path: Path, *, wait: bool) -> None:
    try:
        lock.acquire(timeout=0)
    except Timeout:
        held = Held(path)
        if not wait:
            raise held from None
        print(f"waiting for {held}", flush=True)
        lock.acquire()
