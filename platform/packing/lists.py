"""Lists of images as a source: the columns path, label and, where there is one, split of a CSV or Parquet file.

In: a path or URL. Out: items, checked, and their bytes. Read with pyarrow, which executes nothing that a file holds.
"""

import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from pyarrow import csv, parquet

from platform.config import ConfigError, StorageConfig, first_line
from platform.data.storage import Storage, StorageError, is_remote, join
from platform.packing.items import SPLIT_NAMES, Item, Parts, file_stamp

LIST_SUFFIXES = (".csv", ".parquet")
NEEDED, OPTIONAL = ("path", "label"), ("split",)
# Of the addresses in a list, which may be somebody else's: fsspec knows others that read files of instructions.
LISTED_PROTOCOLS = ("http", "https", "s3", "gs", "gcs", "az", "abfs", "memory")


@dataclass(frozen=True)
class ListSource:
    """Rows of path, label and, if the list says it, split. Paths are relative to the list, absolute, or addresses."""

    path: str  # or address of the list
    storage: StorageConfig = field(default_factory=StorageConfig)

    def parts(self) -> Parts:
        parts: Parts = defaultdict(list)
        for row in read_list(self.path, Storage(self.storage)):
            if row.split is not None and row.split.lower() not in SPLIT_NAMES:
                raise ConfigError(
                    f"data.source {self.path} names the split {row.split!r}; choose one of {', '.join(SPLIT_NAMES)}"
                )
            self._check(row.path)
            parts[row.split and SPLIT_NAMES[row.split.lower()]].append(Item(row.path, sys.intern(row.label)))
        if not parts:
            raise ConfigError(f"data.source {self.path} has no rows; list the images in it")
        return dict(parts)

    def _check(self, path: str) -> None:
        """Addresses of known kinds; a list that came over the network names what lies below it or at an address."""
        if is_remote(path):
            protocol = path.partition("://")[0]
            known = protocol in LISTED_PROTOCOLS
            remedy = f"addresses may begin with {', '.join(LISTED_PROTOCOLS)}"
        else:
            known = not is_remote(self.path) or not (path.startswith("/") or ".." in path.split("/"))
            remedy = "a list at an address names files below its folder"
        if not known:
            raise ConfigError(f"data.source {self.path} lists {path!r}, which is not read; {remedy}")

    def read(self, item: Item) -> bytes:
        where = self._address(item)
        return Storage(self.storage).read(where) if is_remote(where) else Path(where).read_bytes()

    def stamp(self, item: Item) -> str:
        where = self._address(item)
        return where if is_remote(where) else file_stamp(Path(where))

    def _address(self, item: Item) -> str:
        if is_remote(item.name):
            return item.name
        if is_remote(self.path):
            return join(self.path.rpartition("/")[0], item.name)
        return str(Path(self.path).parent / item.name)  # an absolute one stays as it is


class ListedImage(NamedTuple):
    """One row."""

    path: str
    label: str
    split: str | None  # None: the list has no such column


def read_list(path: str, storage: Storage) -> Iterator[ListedImage]:
    """The rows of a list in its order.

    Raises:
        ConfigError: it cannot be read, lacks a column, or a row lacks a value.
    """
    try:
        opened = pa.BufferReader(storage.read(path)) if is_remote(path) else path
        table = _parquet(path, opened) if path.endswith(".parquet") else _csv(path, opened)
    except StorageError as error:
        raise ConfigError(f"data.source: {error}") from error
    except (pa.ArrowException, OSError) as error:
        kind = "Parquet" if path.endswith(".parquet") else "CSV"
        raise ConfigError(f"data.source {path} is no {kind} file ({first_line(error)}); check it") from error
    splits = table["split"].to_pylist() if "split" in table.column_names else [None] * table.num_rows
    rows = zip(table["path"].to_pylist(), table["label"].to_pylist(), splits, strict=True)
    for number, (name, label, split) in enumerate(rows, 1):
        if not name or not isinstance(name, str):
            raise ConfigError(f"data.source {path} has the path {name!r} in row {number}; give every image one")
        if label in (None, "") or isinstance(label, bool) or not isinstance(label, str | int):
            raise ConfigError(
                f"data.source {path} has the label {label!r} in row {number} ({name}); give a name or a whole number"
            )
        if "split" in table.column_names and not split:
            raise ConfigError(f"data.source {path} has no split in row {number} ({name}); give every image one or none")
        yield ListedImage(name, str(label), None if split is None else str(split))


def _parquet(path: str, opened: Any) -> pa.Table:
    columns = parquet.read_schema(opened).names
    return parquet.read_table(opened, columns=_wanted(path, columns))


def _csv(path: str, opened: Any) -> pa.Table:
    as_written = csv.ConvertOptions(column_types={name: pa.string() for name in NEEDED + OPTIONAL})  # "01" stays
    table = csv.read_csv(opened, convert_options=as_written)
    return table.select(_wanted(path, table.column_names))


def _wanted(path: str, columns: list[str]) -> list[str]:
    missing = [name for name in NEEDED if name not in columns]
    if missing:
        raise ConfigError(
            f"data.source {path} has no column {' and no column '.join(missing)}, only {', '.join(columns)}; "
            "name them path, label and, if you like, split"
        )
    return [name for name in NEEDED + OPTIONAL if name in columns]
