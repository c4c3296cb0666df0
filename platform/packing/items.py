"""One image of a source, before anything is read of it."""

import functools
import logging
from pathlib import Path
from typing import Any, NamedTuple

from platform.data.reads import reads

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
    """Whether `data.source` names a list of images: CSV, TSV or Parquet."""
    return path.lower().endswith(LIST_SUFFIXES)


def file_stamp(path: Path) -> str:
    """A text that changes when the file does, as far as can be told without reading it: its size and time."""
    try:
        status = path.stat()
    except OSError:
        return "absent"
    return f"{status.st_size} {status.st_mtime_ns}"


def read_file(path: Path) -> bytes:
    """A whole file.

    Raises:
        OSError: it cannot be read, or is a pipe or device, which might never end.
    """
    with reads.under_way(str(path)):
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise OSError("it is no file but a pipe, socket or device")
        return path.read_bytes()


def natural(name: str) -> tuple[int, str]:
    """A sort key that puts "2" before "10" where class names are numbers."""
    return (int(name), name) if name.isdecimal() else (0, name)


@functools.cache
def say_once(message: str) -> None:
    """Log a warning once in this process: the plan lists a source, and then the packing does so again."""
    log.warning(message)
