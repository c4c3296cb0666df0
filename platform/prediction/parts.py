"""Finished blocks of images: Parquet files in `OUTPUT.parts`, from which an interrupted job=predict goes on.

In: rows of a block. Out: the same, in any later process. Without an output they are kept in memory.
"""

import io
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as parquet

from platform.config.checks import ConfigError
from platform.data.storage import Storage
from platform.data.store_errors import NoSuchFile
from platform.data.urls import join
from platform.export.description import Description
from platform.prediction.rows import Row, flat, of_flat
from platform.redaction import redacted

ABOUT = "about.json"


@dataclass(frozen=True)
class Work:
    """What the rows depend on: blocks of other work are never mixed in."""

    images: int
    images_digest: str
    model: str
    model_digest: str
    views: int
    top_k: int
    block: int  # images

    def differences(self, other: dict[str, Any]) -> list[str]:
        """One `name: theirs -> ours` for each that differs; the model's name does not count."""
        mine = asdict(self)
        names = [name for name in mine if name != "model" and mine[name] != other.get(name)]
        return [f"{name}: {other.get(name)} -> {mine[name]}" for name in names]


@dataclass(frozen=True)
class Columns:
    """How a row becomes columns and back."""

    model: Description
    top_k: int

    @property
    def schema(self) -> pa.Schema:
        """Names and types of the columns, which depend on the model and `top_k` only."""
        kinds = {"label_rank": pa.int32(), "disagreement": pa.float32()}
        nothing = Row("", "", [], [], None, None, None, None)
        names = flat(nothing, self.model, self.top_k)
        probabilities = {name for name in names if name.startswith("probability") or name.endswith("_probability")}
        return pa.schema(
            [(name, kinds.get(name, pa.float32() if name in probabilities else pa.string())) for name in names]
        )

    def table(self, rows: Iterable[Row]) -> pa.Table:
        """Rows by columns."""
        return pa.Table.from_pylist([flat(row, self.model, self.top_k) for row in rows], self.schema)

    def rows(self, table: pa.Table) -> list[Row]:
        """The rows of such a table."""
        return [of_flat(values, self.model, self.top_k) for values in table.to_pylist()]


class Parts(Protocol):
    """Where finished blocks are."""

    columns: Columns

    def finished(self) -> set[int]:
        """The numbers of the blocks that are there."""
        ...

    def write(self, block: int, rows: list[Row]) -> None:
        """Keep a block."""
        ...

    def table(self, block: int) -> pa.Table:
        """A block that is there, by columns."""
        ...


class InMemory:
    """Of this process only."""

    def __init__(self, columns: Columns) -> None:
        self.columns = columns
        self._tables: dict[int, pa.Table] = {}

    def finished(self) -> set[int]:
        return set(self._tables)

    def write(self, block: int, rows: list[Row]) -> None:
        self._tables[block] = self.columns.table(rows)

    def table(self, block: int) -> pa.Table:
        return self._tables[block]


class InFolder:
    """A folder or URL. Picklable: workers write their blocks themselves."""

    def __init__(self, url: str, columns: Columns, storage: Storage) -> None:
        self.url, self.columns, self._storage = url, columns, storage

    def open(self, work: Work) -> None:
        """Go on with the blocks that are there, or begin.

        Raises:
            ConfigError: they are of other work; with the differences.
            StorageError: the place cannot be read or written.
        """
        about = join(self.url, ABOUT)
        try:
            found = json.loads(self._storage.read(about))
        except NoSuchFile:
            self._storage.write(about, (json.dumps(asdict(work), indent=1) + "\n").encode())
            return
        except ValueError:
            found = None
        changed = work.differences(found) if isinstance(found, dict) else [f"{ABOUT} is damaged"]
        if changed:
            raise ConfigError(
                f"{redacted(self.url)} holds blocks of other work ({'; '.join(changed)}); give another predict.output, "
                "or remove that folder to begin anew"
            )

    def finished(self) -> set[int]:
        names = [name for name, _ in self._storage.list(self.url, ".parquet")]
        return {int(name.removesuffix(".parquet")) for name in names if name.removesuffix(".parquet").isdigit()}

    def write(self, block: int, rows: list[Row]) -> None:
        content = io.BytesIO()
        parquet.write_table(self.columns.table(rows), content)
        self._storage.write(self._file(block), content.getvalue())

    def table(self, block: int) -> pa.Table:
        """Read a block.

        Raises:
            ConfigError: the file is damaged.
            StorageError: it cannot be read.
        """
        try:
            return parquet.read_table(io.BytesIO(self._storage.read(self._file(block))), schema=self.columns.schema)
        except pa.ArrowInvalid as error:
            raise ConfigError(
                f"{redacted(self._file(block))} is damaged; remove it and give the command again"
            ) from error

    def remove(self) -> None:
        """Remove the folder: the output has everything."""
        self._storage.remove(self.url)

    def _file(self, block: int) -> str:
        return join(self.url, f"{block:06d}.parquet")
