"""What changed since a file was last written whole: one JSON line a change, in a file beside it.

In: changes, one at a time. Out: all of them again, in order, by whoever reads the whole file. So a change costs a line,
however much there is already; the next one who writes the file whole lets the lines go. A change must say what is now,
not what is different: lines that the whole file holds already (its writer was killed between the two) then do no harm.
"""

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

Found = TypeVar("Found")


def append_change(path: Path, change: Any) -> None:
    """Returns when the disk has it.

    Raises:
        OSError: the disk does not take it; then nothing of it is there.
    """
    line = json.dumps(change).encode() + b"\n"
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        size = os.fstat(file).st_size
        if size and os.pread(file, 1, size - 1) != b"\n":  # of a process that was killed here: nobody was told of it
            size = _end_of_lines(file, size)
            os.truncate(file, size)
        try:
            written = 0
            while written < len(line):
                written += os.write(file, line[written:])
            os.fsync(file)
        except OSError:
            os.truncate(file, size)  # half a line would spoil the next
            raise
    finally:
        os.close(file)


def read_changes(path: Path) -> list[Any]:
    """Every change, the oldest first. A last line without an end is of a process that was killed while writing it.

    Raises:
        ValueError: another line is not what `append_change` wrote.
    """
    try:
        *lines, _unfinished = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines]


def forget_changes(path: Path) -> None:
    """The whole file holds them all."""
    path.unlink(missing_ok=True)


def read_with_changes(whole: Path, both: Callable[[], Found]) -> Found:
    """What `both` reads of a whole file and its changes, where somebody else may write it whole in between."""
    while True:
        before = _version(whole)
        found = both()
        if _version(whole) == before:
            return found


def _version(path: Path) -> tuple[int, int] | None:
    with contextlib.suppress(FileNotFoundError):
        status = path.stat()
        return status.st_ino, status.st_mtime_ns
    return None


def _end_of_lines(file: int, size: int) -> int:
    return os.pread(file, size, 0).rfind(b"\n") + 1
