"""Lists of images as a source: CSV, TSV or Parquet files with the columns path, label and, if there is one, split.

In: a path or URL. Out: items, checked, and their bytes. Read with pyarrow, which executes nothing in a file.
"""

import sys
from collections import defaultdict
from collections.abc import Iterator
from csv import reader
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from pyarrow import csv, parquet

from platform.config.checks import ConfigError
from platform.config.data import StorageConfig
from platform.data.storage import Storage
from platform.data.store_errors import StorageError
from platform.data.urls import is_remote, join
from platform.packing.items import SPLIT_NAMES, Item, Parts, file_stamp, read_file
from platform.text import first_line

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
NAMED = 6  # columns in a message
HEADER_BYTES = 2**16  # in which the first line must end
NEEDED, OPTIONAL = ("path", "label"), ("split",)
# Of URLs in a list, which need not be trusted: fsspec has others, some of which read further instructions.
LISTED_PROTOCOLS = ("http", "https", "s3", "gs", "gcs", "az", "abfs", "memory")


def _is_parquet(path: str) -> bool:
    return path.lower().endswith(".parquet")


@dataclass(frozen=True)
class ListSource:
    """Rows of path, label and, if the list says it, split. Paths are relative to the list, absolute, or addresses."""

    path: str  # or URL of the list
    storage: StorageConfig = field(default_factory=StorageConfig)

    def parts(self) -> Parts:
        parts: Parts = defaultdict(list)
        for row in read_list(self.path, Storage(self.storage)):
            split = row.split and row.split.strip().lower()
            if split is not None and split not in SPLIT_NAMES:
                raise ConfigError(
                    f"data.source {self.path} names the split {row.split!r}; choose one of {', '.join(SPLIT_NAMES)}"
                )
            self._check(row.path)
            parts[split and SPLIT_NAMES[split]].append(Item(row.path, sys.intern(row.label)))
        if not parts:
            raise ConfigError(f"data.source {self.path} has no rows; list the images in it")
        return dict(parts)

    def _check(self, path: str) -> None:
        """Refuse URLs of other protocols, and local files outside its folder in a list from a URL."""
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
        return Storage(self.storage).read(where) if is_remote(where) else read_file(Path(where))

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
    """One row of a list."""

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
        table = _parquet(path, opened) if _is_parquet(path) else _csv(path, opened)
        with_split = "split" in table.column_names
        splits = table["split"].to_pylist() if with_split else [None] * table.num_rows
        rows = zip(table["path"].to_pylist(), table["label"].to_pylist(), splits, strict=True)
    except StorageError as error:
        raise ConfigError(f"data.source: {error}") from error
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        kind, remedy = ("Parquet", "check it") if _is_parquet(path) else ("CSV", "check it: UTF-8, separated by commas")
        raise ConfigError(f"data.source {path} is no {kind} file ({first_line(error)}); {remedy}") from error
    for number, (name, label, split) in enumerate(rows, 1):
        if not name or not isinstance(name, str) or "\0" in name:
            raise ConfigError(f"data.source {path} has the path {name!r} in row {number}; give every image one")
        if not _is_label(label):
            raise ConfigError(
                f"data.source {path} has the label {label!r} in row {number} ({name}); give a name or a whole number"
            )
        if with_split and not split:
            raise ConfigError(f"data.source {path} has no split in row {number} ({name}); give every image one or none")
        yield ListedImage(name, str(label), None if split is None else str(split))


def _is_label(value: Any) -> bool:
    """Whether a value is a class name or number: blanks alone are no name, and True is no number."""
    return bool(value.strip()) if isinstance(value, str) else isinstance(value, int) and not isinstance(value, bool)


def _parquet(path: str, opened: Any) -> pa.Table:
    columns = parquet.read_schema(opened).names
    wanted = _wanted(path, columns)
    return parquet.read_table(opened, columns=list(wanted)).rename_columns(list(wanted.values()))


def _csv(path: str, opened: Any) -> pa.Table:
    separator, columns = _header(path, opened)
    as_written = csv.ConvertOptions(column_types=dict.fromkeys(columns, pa.string()))  # "01" stays
    table = csv.read_csv(opened, parse_options=csv.ParseOptions(delimiter=separator), convert_options=as_written)
    wanted = _wanted(path, table.column_names)
    return table.select(list(wanted)).rename_columns(list(wanted.values()))


def _header(path: str, opened: Any) -> tuple[str, list[str]]:
    """(separator, column names) of a list: commas, or tabs in a .tsv, unless exactly one other separator gives the
    columns needed."""
    if isinstance(opened, str):
        with pa.input_stream(opened) as file:  # decompresses as the suffix says, as reading does
            start = file.read(HEADER_BYTES)
    else:
        start = opened.read(HEADER_BYTES)
        opened.seek(0)
    line = next(iter(start.decode("utf-8-sig", "replace").splitlines()), "")
    usual = "\t" if path.lower().endswith(".tsv") else ","
    found = {separator: next(reader([line], delimiter=separator), []) for separator in SEPARATORS}
    fitting = [separator for separator, names in found.items() if set(NEEDED) <= set(_named(names).values())]
    separator = fitting[0] if len(fitting) == 1 and usual not in fitting else usual
    return separator, found[separator]


def _named(columns: list[str]) -> dict[str, str]:
    """Column -> the column it is meant to be. Blanks around it and capitals are ignored unless another has the name."""
    plain = {name: name for name in columns if name in NEEDED + OPTIONAL}
    for name in columns:
        meant = name.strip().lower()
        if meant in NEEDED + OPTIONAL and meant not in plain.values():
            plain[name] = meant
    return plain


def _wanted(path: str, columns: list[str]) -> dict[str, str]:
    named = _named(columns)
    for name in named:
        if columns.count(name) > 1:
            raise ConfigError(f"data.source {path} has {columns.count(name)} columns called {name}; leave one of them")
    missing = [name for name in NEEDED if name not in named.values()]
    if missing:
        there = f"{', '.join(name[:40] for name in columns[:NAMED])}{' ...' if len(columns) > NAMED else ''}"
        raise ConfigError(
            f"data.source {path} has no column {' and no column '.join(missing)}, only {there}; "
            "name them path, label and, if you like, split in its first line"
            f"{'' if _is_parquet(path) else ', separated by commas'}"
        )
    return {column: name for name in NEEDED + OPTIONAL for column, ours in named.items() if ours == name}
