"""The room of a cache's folder: how many bytes it holds, and which shards are removed for new ones.

In: the folder, its limit, a shard to be fetched. Out: room for it. A file under a lock keeps the count and the least
recently used shards, so that the folder is listed once an hour, or once for hundreds of removed shards.
"""

import contextlib
import json
import logging
import os
import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from platform.locks import Held, locked_by_system, take

log = logging.getLogger("platform.data")

OWN = re.compile(r".*-[0-9a-f]{24}\.(tar|part)")  # what lies in the folder otherwise is somebody else's
LOCKS = 256  # files; a shard's is chosen by its name, so that they do not grow with the data
OLDEST = 256  # kept of one listing
LISTED_FOR_S = 3600.0  # until the folder is listed again: people may have added or removed files
DAMAGE = (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError)


@dataclass
class Ledger:
    """What the folder holds."""

    listed: float  # when, in seconds since 1970
    bytes: int = 0  # of shards, those that are being fetched in full
    fetching: dict[str, int] = field(default_factory=dict)  # name -> bytes it will have
    oldest: list[tuple[str, int, int]] = field(default_factory=list)  # name, when last used (ns), bytes: oldest first

    @classmethod
    def of(cls, text: str) -> "Ledger":
        """From its JSON.

        Raises:
            Exception: one of DAMAGE, where a process was killed while it wrote this, or someone else wrote it.
        """
        content = json.loads(text)
        fetching = {_own(name): int(size) for name, size in dict(content["fetching"]).items()}
        oldest = [(_own(name), int(used), int(size)) for name, used, size in content["oldest"]]
        return cls(float(content["listed"]), int(content["bytes"]), fetching, oldest)


class Room:
    """Shared by all processes that use the folder. Callers hold the lock (`lock`) of the shard in question.

    lock/NUMBER    lock of each 256th of the names
    lock/room      lock of the ledger
    lock/ledger    what the folder holds; if it is missing or torn, the folder is listed
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes
        self._ledger = folder / "lock" / "ledger"
        self._warned = False

    def lock(self, path: Path, *, wait: bool = True) -> contextlib.AbstractContextManager[None]:
        """The lock of a shard, whole or being fetched; raises what `locked_by_system` does."""
        self._ledger.parent.mkdir(parents=True, exist_ok=True)
        number = int(path.stem[-6:], 16) % LOCKS
        return locked_by_system(self._ledger.with_name(f"{number:03d}"), wait=wait)

    def reserve(self, part: Path, size: int) -> None:
        """Make room for `part`, which will have `size` bytes: remove the least recently used shards that nobody reads,
        and files of dead processes."""
        with self._opened() as ledger:
            if ledger is None or not abs(time.time() - ledger.listed) < LISTED_FOR_S:
                ledger, files = self._list(ledger, part)
                ledger.oldest = files[:OLDEST]
            self._forget_dead(ledger, part)
            ledger.bytes += size - ledger.fetching.get(part.name, 0)  # of a process that died over it
            ledger.fetching[part.name] = size
            ledger = self._evict(ledger, part)
            self._write(ledger)
        self._say_excess(ledger)

    def keep(self, part: Path, path: Path) -> None:
        """Rename the fetched `part` to `path`, under the ledger's lock."""
        with self._opened() as ledger:
            replaces = path.exists()  # a torn one, of whatever size
            part.replace(path)
            if ledger:
                ledger.fetching.pop(part.name, None)
                ledger.listed = 0.0 if replaces else ledger.listed
                self._write(ledger)

    def release(self, part: Path) -> None:
        """Remove `part`, whose fetch has failed, and give back its room."""
        part.unlink(missing_ok=True)
        with self._opened() as ledger:
            if ledger:
                ledger.bytes -= ledger.fetching.pop(part.name, 0)
                self._write(ledger)

    def forget(self, path: Path) -> None:
        """Remove a shard if it is there."""
        with self._opened() as ledger, contextlib.suppress(FileNotFoundError):
            size = path.stat().st_size
            path.unlink()
            if ledger:
                ledger.bytes -= size
                ledger.oldest = [entry for entry in ledger.oldest if entry[0] != path.name]
                self._write(ledger)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Ledger | None]:
        """The ledger under its lock; None if there is none that can be read."""
        with locked_by_system(self._ledger.with_name("room")):
            ledger = None
            with contextlib.suppress(FileNotFoundError, *DAMAGE):
                ledger = Ledger.of(self._ledger.read_text())
            yield ledger

    def _write(self, ledger: Ledger) -> None:
        self._ledger.write_text(json.dumps(asdict(ledger)))  # torn if this process is killed: then it is made anew

    def _list(self, known: Ledger | None, own: Path) -> tuple[Ledger, list[tuple[str, int, int]]]:
        """List the folder and remove files of dead processes: the ledger, and the whole shards, oldest first."""
        ledger, files = Ledger(time.time()), list[tuple[str, int, int]]()
        reserved = known.fetching if known else {}
        with os.scandir(self.folder) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    if OWN.fullmatch(entry.name) and entry.is_file():
                        found = entry.stat()
                        files.append((entry.name, found.st_mtime_ns, found.st_size))
        for name, _, size in [file for file in files if file[0].endswith(".part")]:
            if name == own.name or not self._remove_dead(name):
                ledger.fetching[name] = reserved.get(name, size)
        shards = sorted((file for file in files if file[0].endswith(".tar")), key=lambda file: file[1])
        ledger.bytes = sum(ledger.fetching.values()) + sum(size for _, _, size in shards)
        return ledger, shards

    def _forget_dead(self, ledger: Ledger, own: Path) -> None:
        """Stop counting what dead processes were fetching, unless it had just been renamed."""
        for name in [name for name in ledger.fetching if name != own.name and self._remove_dead(name)]:
            size = ledger.fetching.pop(name)
            ledger.bytes -= 0 if (self.folder / name).with_suffix(".tar").exists() else size

    def _evict(self, ledger: Ledger, own: Path) -> Ledger:
        """Remove shards until the limit holds, or none is left that nobody reads."""
        self._remove_oldest(ledger, ledger.oldest)
        if ledger.bytes > self.limit_bytes:
            ledger, files = self._list(ledger, own)
            self._remove_oldest(ledger, files)
            ledger.oldest = files[:OLDEST]
        return ledger

    def _remove_oldest(self, ledger: Ledger, files: list[tuple[str, int, int]]) -> None:
        """Remove as many of the first as need be from the folder, and all tried ones from `files`: those in use or
        used meanwhile are younger than the others."""
        tried = 0
        for name, used, size in files:
            if ledger.bytes <= self.limit_bytes:
                break
            tried += 1
            if _remove_unused(self.folder / name, used):
                ledger.bytes -= size
        del files[:tried]

    def _remove_dead(self, part: str) -> bool:
        path = self.folder / part
        try:
            with self.lock(path, wait=False):
                path.unlink(missing_ok=True)
                return True
        except Held:
            return False

    def _say_excess(self, ledger: Ledger) -> None:
        if ledger.bytes > self.limit_bytes and not self._warned:
            self._warned = True
            log.warning(
                "the cache %s needs %.1f GB for what is being read now, more than storage.cache_gb=%g; raise that, or "
                "lower loader.block", self.folder, ledger.bytes / 1e9, self.limit_bytes / 1e9,
            )  # fmt: skip


def _own(name: str) -> str:
    """The name, checked: only files that a cache makes are counted or removed.

    Raises:
        ValueError: it is another file's.
    """
    if not isinstance(name, str) or "/" in name or not OWN.fullmatch(name):
        raise ValueError(f"{name!r} is no shard of a cache")
    return name


def _remove_unused(path: Path, used: int) -> bool:
    """Remove a shard unless somebody reads it or has used it since `used` (ns); True: it is gone."""
    try:
        with open(path, "r+b") as file:
            if not take(file) or os.fstat(file.fileno()).st_mtime_ns != used:
                return False
            path.unlink(missing_ok=True)
            return True
    except FileNotFoundError:
        return True
