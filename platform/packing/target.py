"""Where shards are packed to: a folder, or any store that fsspec writes to. Finished shards survive an interruption.

In: whole shards with a record of each. Out: shards and, last of all, their index, without which they are not valid.
A record (`.packing/NAME.json`, beside the shards) is written after its shard and removed once the index is there.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from platform.config.checks import ConfigError
from platform.config.data import StorageConfig
from platform.data.cache import ShardError
from platform.data.index_file import INDEX_NAME, read_entries
from platform.data.storage import Storage
from platform.data.store_errors import NoSuchFile
from platform.data.urls import is_remote, join
from platform.files import write_atomically
from platform.locks import Held, locked

RECORDS = ".packing"
NOTE = "note"  # beside the records
READ_ONLY = ("http://", "https://")
Record = dict[str, Any]  # of a shard: the fields of ShardResult, as JSON


class Target(Protocol):
    """A place that any process can write shards to; small and picklable."""

    def finished(self, name: str) -> Record | None:
        """The record of a shard; None if the shard is not there or not whole."""
        ...

    def part(self, name: str) -> contextlib.AbstractContextManager[Path]:
        """A temporary file to write a shard into. It is removed at the end unless `keep` was called."""
        ...

    def keep(self, part: Path, name: str, record: Record) -> None:
        """Put a written shard and then its record in place.

        Raises:
            OSError: the disk or store refuses.
        """
        ...

    def remember(self, note: str) -> None:
        """Write a note beside the records, replacing an earlier one."""
        ...

    def remembered(self) -> str | None:
        """The note; None if there is none."""
        ...

    def held(self) -> contextlib.AbstractContextManager[None]:
        """Lock the place for this packing. What is unfinished at the end stays for the next one.

        Raises:
            ConfigError: another process is packing there, or it holds other files.
        """
        ...

    def finish(self, index: str, names: set[str]) -> None:
        """Write the index of the shards `names`, and remove other shards, which abandoned packings left."""
        ...


def open_target(url: str, storage: StorageConfig) -> Target:
    """The target that `data.shards` names: a folder or a URL."""
    return RemoteTarget(url, storage) if is_remote(url) else LocalTarget(str(Path(url).resolve()))


@dataclass(frozen=True)
class LocalTarget:
    """A folder. It is filled as `NAME.packing` beside it, so that shards in it stay until the new ones are whole."""

    folder: str

    @property
    def _unfinished(self) -> Path:
        return Path(self.folder).with_name(f"{Path(self.folder).name}.packing")

    def _record(self, name: str) -> Path:
        return self._unfinished / RECORDS / f"{name}.json"

    def finished(self, name: str) -> Record | None:
        try:
            record = json.loads(self._record(name).read_text())
            found = md5_of(self._unfinished / name)
        except (FileNotFoundError, ValueError):
            return None
        return record if found == record["entry"]["md5sum"] else None

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[Path]:
        path = self._unfinished / f"{name}.{uuid.uuid4().hex[:8]}.part"  # a task may be tried again while it still runs
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def keep(self, part: Path, name: str, record: Record) -> None:
        with open(part, "rb") as file:
            os.fsync(file.fileno())
        part.replace(self._unfinished / name)
        write_atomically(self._record(name), json.dumps(record))

    def remember(self, note: str) -> None:
        with _written(self._unfinished):
            write_atomically(self._unfinished / RECORDS / NOTE, note)

    def remembered(self) -> str | None:
        with contextlib.suppress(FileNotFoundError):
            return (self._unfinished / RECORDS / NOTE).read_text()
        return None

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        self._check()
        with _written(self._unfinished):
            (self._unfinished / RECORDS).mkdir(parents=True, exist_ok=True)
        with _lock(self._unfinished / RECORDS / "lock", self.folder):
            try:
                yield
            finally:
                self._remove_if_empty()

    def _check(self) -> None:
        folder, unfinished = Path(self.folder), self._unfinished
        for path in (folder, unfinished):
            if path.exists() and not path.is_dir():
                raise ConfigError(f"data.shards: {path} is a file; choose a folder")
        if folder.exists() and folder.is_mount():
            raise ConfigError(f"data.shards {folder} is a mount point, which cannot be swapped; give a folder in it")
        self._replaced()
        if unfinished.exists() and any(unfinished.iterdir()) and not (unfinished / RECORDS).is_dir():
            raise ConfigError(f"{unfinished} is where unfinished shards go, and holds other files; move them")

    def _replaced(self) -> list[Path]:
        """The files in the folder that the new shards will replace: shards of an earlier packing, and their index.

        Raises:
            ConfigError: the folder holds anything else.
        """
        folder = Path(self.folder)
        found = sorted(folder.iterdir()) if folder.exists() else []
        if not found:
            return []
        try:
            said = read_entries(self.folder, Storage(StorageConfig()))
        except ShardError:
            raise ConfigError(
                f"data.shards {folder} holds other files and no {INDEX_NAME}; choose an empty folder"
            ) from None
        ours = {folder / INDEX_NAME, *(Path(shard.url) for shard in said.shards)}
        foreign = next((path for path in found if path not in ours), None)
        if foreign is not None:
            raise ConfigError(
                f"data.shards {folder} holds {foreign.name}, no shard of its index; choose an empty folder"
            )
        if "samples_per_shard" not in said.packing:
            raise ConfigError(f"data.shards {folder} holds shards that were not packed here; choose an empty folder")
        return found

    def _remove_if_empty(self) -> None:
        """Remove the unfinished folder if no shard was finished."""
        records = self._unfinished / RECORDS
        if records.exists() and not any(records.glob("*.json")):
            shutil.rmtree(self._unfinished, ignore_errors=True)

    def finish(self, index: str, names: set[str]) -> None:
        folder, unfinished = Path(self.folder), self._unfinished
        for path in unfinished.iterdir():
            if path.name not in names and path.name != RECORDS:
                path.unlink()
        write_atomically(unfinished / INDEX_NAME, index)
        replaced = self._replaced()
        retired = folder.with_name(f"{folder.name}.replaced-{uuid.uuid4().hex[:8]}")
        if folder.exists():
            folder.rename(retired)
        unfinished.rename(folder)
        for path in replaced:
            (retired / path.name).unlink()
        if retired.exists():
            retired.rmdir()
        shutil.rmtree(folder / RECORDS, ignore_errors=True)


@dataclass(frozen=True)
class RemoteTarget:
    """The URL of a folder. Shards are written on this machine's temporary disk, then uploaded."""

    url: str
    storage: StorageConfig

    def _record(self, name: str) -> str:
        return join(self.url, f"{RECORDS}/{name}.json")

    def finished(self, name: str) -> Record | None:
        store = Storage(self.storage)
        try:
            record = json.loads(store.read(self._record(name)))
        except (NoSuchFile, ValueError):
            return None
        # The stores take a file whole or not at all; to compare its checksum it would have to be fetched.
        return record if store.size(join(self.url, name)) == record["entry"]["filesize"] else None

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="platform-packing-") as folder:
            yield Path(folder, name)

    def keep(self, part: Path, name: str, record: Record) -> None:
        store = Storage(self.storage)
        store.upload(part, join(self.url, name))
        store.write(self._record(name), json.dumps(record).encode())

    def remember(self, note: str) -> None:
        Storage(self.storage).write(join(self.url, f"{RECORDS}/{NOTE}"), note.encode())

    def remembered(self) -> str | None:
        with contextlib.suppress(NoSuchFile):
            return Storage(self.storage).read(join(self.url, f"{RECORDS}/{NOTE}")).decode()
        return None

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """A lock against other packings on this machine: stores have none. Two machines must not pack to one URL."""
        if self.url.startswith(READ_ONLY):
            raise ConfigError(
                f"data.shards is {self.url}, which can only be read; give a folder, or a store's s3://..."
            )
        self._check()
        self._check_foreign()
        name = hashlib.sha256(self.url.encode()).hexdigest()[:16]
        with _lock(Path(tempfile.gettempdir(), f"platform-packing-{name}.lock"), self.url):
            yield

    def _check(self) -> None:
        if Storage(self.storage).size(join(self.url, INDEX_NAME)) is not None:
            raise ConfigError(f"data.shards {self.url} has an {INDEX_NAME} already; choose another folder or remove it")

    def _check_foreign(self) -> None:
        """Refuse shards without a record: they were not packed here, and would be overwritten."""
        store = Storage(self.storage)
        try:
            names = [name for name, _ in store.list(self.url, ".tar")]
            records = {name for name, _ in store.list(join(self.url, RECORDS), ".tar.json")} if names else set()
        except NoSuchFile:
            return
        ours = (name for name in names if re.fullmatch(r"(train|val|test)-\d{6}\.tar", name))
        foreign = next((name for name in ours if f"{name}.json" not in records), None)
        if foreign is not None:
            raise ConfigError(
                f"data.shards {self.url} holds {foreign}, which was not packed here; choose another folder"
            )

    def finish(self, index: str, names: set[str]) -> None:
        store = Storage(self.storage)
        self._check()  # nobody put one there meanwhile
        for record, _ in store.list(join(self.url, RECORDS), ".json"):
            name = record.removesuffix(".json")
            if name not in names:
                store.remove(join(self.url, name))
        store.write(join(self.url, INDEX_NAME), index.encode())
        store.remove(join(self.url, RECORDS))


def md5_of(path: Path) -> str:
    """The MD5 checksum of a file, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


@contextlib.contextmanager
def _lock(path: Path, target: str) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(path))
        except Held as held:
            raise ConfigError(f"data.shards {target} is being packed by {held}; wait for it") from None
        yield


@contextlib.contextmanager
def _written(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"data.shards: {path} cannot be written ({error.strerror or error}); choose another folder or free space"
        ) from error
