"""One image of a source, before anything is read of it."""

import functools
import logging
from pathlib import Path
from typing import Any, NamedTuple

log = logging.getLogger("platform.data")

SPLIT_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
LIST_SUFFIXES = (".csv", ".tsv", ".parquet")
TEST_AS_VAL = 'the part "test" is used as validation: there is no other'


class Item(NamedTuple):
    """One image of a source, its bytes not read yet. About 250 bytes: ImageNet's 1.28 million are 0.3 GB."""

    name: str
    label: str  # class name
    where: Any = None  # for its source to find it


Parts = dict[str | None, list[Item]]  # by split; the key None holds the items of a source without splits


def is_list(path: str) -> bool:
    """Whether `data.source` is a list of images."""
    return path.lower().endswith(LIST_SUFFIXES)


def file_stamp(path: Path) -> str:
    """Changes with the file, as far as can be told without reading it."""
    try:
        status = path.stat()
    except OSError:
        return "absent"
    return f"{status.st_size} {status.st_mtime_ns}"


def read_file(path: Path) -> bytes:
    """A whole file.

    Raises:
        OSError: it cannot be read, or is none: a pipe or a device would be waited for without end.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise OSError("it is no file but a pipe, socket or device")
    return path.read_bytes()


def natural(name: str) -> tuple[int, str]:
    """Sort "2" before "10" where class names are numbers."""
    return (int(name), name) if name.isdecimal() else (0, name)


@functools.cache
def say_once(message: str) -> None:
    """The plan lists a source, and then so does the packing."""
    log.warning(message)
