"""Changes since a file was last written whole: one JSON line each, appended to a file beside it.

In: changes, one at a time. Out: all of them in order, for whoever reads the whole file. So a change costs a line,
however large the whole file is; writing that again makes the lines obsolete. A change gives new values, no differences,
so that applying it twice does no harm: its writer may be killed between writing the whole file and removing the lines.
"""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from platform.files import append_line

Found = TypeVar("Found")


def append_change(path: Path, change: Any) -> None:
    """Append a change, and sync it to the disk.

    Args:
        path: of the file of changes.
        change: anything that JSON holds.

    Raises:
        OSError: it cannot be written; nothing of it is left.
    """
    append_line(path, json.dumps(change), sync=True)


def read_changes(path: Path) -> list[Any]:
    """Read the changes, the oldest first, without the torn last line of a killed process.

    Raises:
        ValueError: another line is not what `append_change` wrote.
    """
    try:
        *lines, _unfinished = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines]


def forget_changes(path: Path) -> None:
    """Remove the changes, after the whole file was written with them."""
    path.unlink(missing_ok=True)


def read_with_changes(whole: Path, both: Callable[[], Found]) -> Found:
    """Read a whole file and its changes, again if another process writes the whole file meanwhile.

    Args:
        whole: path of the whole file.
        both: reads it and its changes.

    Returns:
        what `both` returns.
    """
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
