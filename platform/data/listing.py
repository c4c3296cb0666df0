"""Files below a folder, at any depth: of this machine, or of one of fsspec's file systems.

In: the folder, and how names must end. Out: names and sizes.
"""

import contextlib
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fsspec.asyn import AsyncFileSystem
from fsspec.spec import AbstractFileSystem


def files_below(folder: Path, suffix: str | tuple[str, ...]) -> Iterator[tuple[str, int]]:
    """(name below `folder`, size in bytes). What is removed meanwhile does not come."""
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            if path.name.endswith(suffix) and stat.S_ISREG((status := path.stat()).st_mode):
                yield path.relative_to(folder).as_posix(), status.st_size


def found_below(
    files: Any, path: str, suffix: str | tuple[str, ...], limit: dict[str, float]
) -> list[tuple[str, str, int | None]]:
    """List files as (name below `path`, full name for the file system, size in bytes if the listing has it)."""
    own, walking = getattr(type(files), "_find", type(files).find), (AbstractFileSystem.find, AsyncFileSystem._find)
    strict = {"on_error": _raise_but_absence} if own in walking else {}  # by default a folder that fails looks empty
    above = path.rstrip("/") + "/"
    return [
        (name.removeprefix(above), name, int(entry["size"]) if entry.get("size") else None)
        for name, entry in files.find(path, detail=True, **strict, **limit).items()
        if name.endswith(suffix) and not name.endswith("/")  # an empty object of a store stands for a folder
    ]


def _raise_but_absence(error: OSError) -> None:
    """Error handler of listings: a folder that is gone or never was has no files, other errors are raised."""
    if not isinstance(error, FileNotFoundError):
        raise error
