"""`predict.output`: a row for each image as CSV, Parquet or JSON lines, written whole or not at all.

In: blocks of rows, in order. Out: one file, here or at a URL; the extension of its name chooses.
"""

import csv
import json
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet

from platform.config.checks import ConfigError
from platform.data.storage import Storage
from platform.data.urls import is_remote
from platform.experiment.destinations import require_folder
from platform.files import replacing

DIGITS = 7  # of a float32


def require_output(key: str, file: str | None) -> None:
    """Try whether a file can be written; nothing is left of it.

    Raises:
        ConfigError: it cannot.
    """
    if file is None:
        return
    if is_remote(file):
        if file.startswith(("http://", "https://")):
            raise ConfigError(f"{key} is {file}, which cannot be written to; give a file, or s3://, gs:// ...")
        return
    path = Path(file).expanduser()
    if path.is_dir():
        raise ConfigError(f"{key} is {file}, a folder; give a file in it")
    require_folder(key, path.absolute().parent)


def write_output(file: str, schema: pa.Schema, tables: Iterable[pa.Table], storage: Storage) -> None:
    """Write all rows.

    Args:
        file: path or URL; its name ends in .csv, .parquet or .jsonl.
        schema: of every table.
        tables: in order.
        storage: for URLs.

    Raises:
        OSError: it cannot be written.
    """
    write = WRITERS[Path(file).suffix.lower()]
    if not is_remote(file):
        path = Path(file).expanduser().absolute()
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as unfinished:
            write(unfinished, schema, tables)
        return
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder, "rows"), schema, tables)
        storage.upload(Path(folder, "rows"), file)


def _csv(path: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(schema.names)
        for table in tables:
            rows.writerows([_short(value) for value in values.values()] for values in table.to_pylist())


def _json_lines(path: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for table in tables:
            for values in table.to_pylist():
                line = {name: _short(value) for name, value in values.items()}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")


def _parquet(path: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
    with parquet.ParquetWriter(path, schema) as writer:
        for table in tables:
            writer.write_table(table)


def _short(value: Any) -> Any:
    """A float32 in the digits that it has, not in those of the float64 that Python makes of it."""
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


WRITERS: dict[str, Callable[[Path, pa.Schema, Iterable[pa.Table]], None]] = {
    ".csv": _csv,
    ".jsonl": _json_lines,
    ".parquet": _parquet,
}
