"""Lists of images: the columns path, label and, where there is one, split of a CSV or Parquet file.

In: a path or URL. Out: rows, checked. Read with pyarrow, which executes nothing that a file holds.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pyarrow as pa
from pyarrow import csv, parquet

from platform.config import ConfigError, first_line
from platform.data.storage import Storage, StorageError, is_remote

NEEDED, OPTIONAL = ("path", "label"), ("split",)


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
