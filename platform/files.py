"""Files that are whole or not there: written beside their place under a name of their own, then renamed.

Process ids do not make a name unique: each pod of a cluster counts its own, and all write to one file system.
"""

import contextlib
import errno
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

SUFFIX = ".unfinished"  # of what a killed process leaves behind
TRIES = 3
NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EACCES)  # of a folder, on some network file systems


def write_atomically(path: Path, content: str | bytes | memoryview) -> None:
    """Make or replace a file as a whole or not at all; it is on the disk when this returns.

    Where someone has removed the unfinished file meanwhile (another process tidies up), it is written again.

    Raises:
        OSError: the disk does not take it; nothing is left.
    """
    for tries_left in reversed(range(TRIES)):
        try:
            with replacing(path) as unfinished:
                unfinished.write_bytes(content.encode() if isinstance(content, str) else content)
            return
        except OSError as error:
            lost = isinstance(error, FileNotFoundError) or error.errno == errno.ESTALE
            if not (lost and tries_left and path.parent.is_dir()):
                raise


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A place beside `path` to write to; the file takes its place when the block ends, or vanishes if that fails.

    Raises:
        OSError: it cannot take its place.
    """
    unfinished = path.with_name(f"{path.name}.{uuid.uuid4().hex[:12]}{SUFFIX}")
    try:
        yield unfinished
        _sync(unfinished)
        unfinished.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise
    _sync_folder(path.parent)


def remove_unfinished(*folders: Path) -> None:
    """Remove what killed processes left in these folders."""
    for folder in folders:
        for path in folder.glob(f"*{SUFFIX}"):
            path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _sync_folder(folder: Path) -> None:
    """Have the rename itself on the disk, where the file system can."""
    try:
        _sync(folder)
    except OSError as error:
        if error.errno not in NO_SYNC:
            raise
