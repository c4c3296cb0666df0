"""Files that are whole or not there: written under a temporary name beside their place, then renamed.

In: a path and its content. Out: the file on the disk. Temporary names are random: process ids are not unique among the
pods that write to one file system.
"""

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

SUFFIX = ".unfinished"  # of what a killed process leaves behind
TRIES = 3
NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EACCES)  # some network file systems sync no folders


def write_atomically(path: Path, content: str | bytes | memoryview) -> None:
    """Make or replace a file as a whole or not at all; it is synced to the disk when this returns.

    If another process's clean-up removes the unfinished file meanwhile, it is written again.

    Raises:
        OSError: it cannot be written; nothing is left.
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
    """A temporary path beside `path` to write to; renamed to `path` at the end of the block, removed if that fails.

    Raises:
        OSError: it cannot be synced or renamed.
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


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A new empty folder beside `path` to write to; it takes the place of `path` at the end of the block, or is removed
    if that fails. Who is killed in between leaves the old one, none or the new one, never half of one.

    Raises:
        OSError: it cannot be synced or renamed.
    """
    name = f"{path.name}.{uuid.uuid4().hex[:12]}"
    unfinished, old = path.with_name(f"{name}{SUFFIX}"), path.with_name(f"{name}.old{SUFFIX}")
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        for file in unfinished.rglob("*"):
            if file.is_file():
                _sync(file)
        with contextlib.suppress(FileNotFoundError):
            path.rename(old)
        unfinished.rename(path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    _sync_folder(path.parent)


def append_line(path: Path, line: str, *, sync: bool = False) -> None:
    """Append a line to a file. What a killed process has left of its last one is cut off.

    Args:
        path: of the file, which is made if it is not there.
        line: without its end.
        sync: to the disk, before this returns.

    Raises:
        OSError: it cannot be written; nothing of it is left.
    """
    content = line.encode() + b"\n"
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        size = os.fstat(file).st_size
        if size and os.pread(file, 1, size - 1) != b"\n":  # torn: whoever wrote it has not returned
            size = os.pread(file, size, 0).rfind(b"\n") + 1
            os.truncate(file, size)
        try:
            written = 0
            while written < len(content):
                written += os.write(file, content[written:])
            if sync:
                os.fsync(file)
        except OSError:
            os.truncate(file, size)  # half a line would spoil the next
            raise
    finally:
        os.close(file)


def sizes_below(folder: Path) -> Iterator[tuple[Path, int]]:
    """Each file at any depth below a folder, with its bytes. One with several names (hard links) comes once; what goes
    meanwhile may not come."""
    seen: set[tuple[int, int]] = set()
    for place, _, names in os.walk(folder):
        for name in names:
            file = Path(place, name)
            with contextlib.suppress(OSError):
                status = file.lstat()
                if (which := (status.st_dev, status.st_ino)) not in seen:
                    seen.add(which)
                    yield file, status.st_size


def remove_unfinished(*folders: Path) -> None:
    """Remove the temporary files and folders of killed processes from these folders."""
    for folder in folders:
        for path in folder.glob(f"*{SUFFIX}"):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _sync_folder(folder: Path) -> None:
    """Sync the rename itself to the disk, if the file system can."""
    try:
        _sync(folder)
    except OSError as error:
        if error.errno not in NO_SYNC:
            raise
