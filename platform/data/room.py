"""The room of a cache's folder: how many bytes lie there, and which shards go for those that come.

In: the folder, its bound, a shard that comes. Out: room for it. The count is kept in a file under a lock, with the
longest unused shards, so that the folder is listed once an hour or once for hundreds of shards that had to go.
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
LISTED_FOR_S = 3600.0  # after which what others (people, older versions of this) put or took there is counted anew
DAMAGE = (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError)


@dataclass
class Ledger:
    """What lies in the folder."""

    listed: float  # when, in seconds since 1970
    bytes: int = 0  # of shards, those that are being fetched in full
    fetching: dict[str, int] = field(default_factory=dict)  # name -> bytes it will have
    oldest: list[tuple[str, int, int]] = field(default_factory=list)  # name, when last used (ns), bytes: oldest first

    @classmethod
    def of(cls, text: str) -> "Ledger":
        """From its JSON.

        Raises:
            one of DAMAGE: a process was killed when it wrote this, or someone else wrote it.
        """
        content = json.loads(text)
        fetching = {_own(name): int(size) for name, size in dict(content["fetching"]).items()}
        oldest = [(_own(name), int(used), int(size)) for name, used, size in content["oldest"]]
        return cls(float(content["listed"]), int(content["bytes"]), fetching, oldest)


class Room:
    """Shared by all processes with the folder. The lock of a shard (`lock`) is held by who calls about it.

    lock/NUMBER    of each 256th of the names
    lock/room      of the ledger
    lock/ledger    what lies in the folder; a missing or torn one is made anew from it
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes
        self._ledger = folder / "lock" / "ledger"
        self._warned = False

    def lock(self, path: Path, *, wait: bool = True) -> contextlib.AbstractContextManager[None]:
        """Of a shard, or of what is being fetched of it. Raises as `locked_by_system` does."""
        self._ledger.parent.mkdir(parents=True, exist_ok=True)
        number = int(path.stem[-6:], 16) % LOCKS
        return locked_by_system(self._ledger.with_name(f"{number:03d}"), wait=wait)

    def reserve(self, part: Path, size: int) -> None:
        """Count `part`, which will have `size` bytes, and remove the longest unused shards that nobody reads for it,
        and what dead processes left."""
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
        """What was fetched takes its name; who makes room sees it under one of them."""
        with self._opened() as ledger:
            replaces = path.exists()  # a torn one, of whatever size
            part.replace(path)
            if ledger:
                ledger.fetching.pop(part.name, None)
                ledger.listed = 0.0 if replaces else ledger.listed
                self._write(ledger)

    def release(self, part: Path) -> None:
        """It was not fetched."""
        part.unlink(missing_ok=True)
        with self._opened() as ledger:
            if ledger:
                ledger.bytes -= ledger.fetching.pop(part.name, 0)
                self._write(ledger)

    def forget(self, path: Path) -> None:
        """Remove a shard, if it is there."""
        with self._opened() as ledger, contextlib.suppress(FileNotFoundError):
            size = path.stat().st_size
            path.unlink()
            if ledger:
                ledger.bytes -= size
                ledger.oldest = [entry for entry in ledger.oldest if entry[0] != path.name]
                self._write(ledger)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Ledger | None]:
        """The ledger, locked; None: there is none that can be read."""
        with locked_by_system(self._ledger.with_name("room")):
            ledger = None
            with contextlib.suppress(FileNotFoundError, *DAMAGE):
                ledger = Ledger.of(self._ledger.read_text())
            yield ledger

    def _write(self, ledger: Ledger) -> None:
        self._ledger.write_text(json.dumps(asdict(ledger)))  # torn by who is killed: it is made anew

    def _list(self, known: Ledger | None, own: Path) -> tuple[Ledger, list[tuple[str, int, int]]]:
        """(the ledger from what lies there, the whole shards, oldest first) without what dead processes left."""
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
        """What processes that died were fetching counts no more, unless they had just given it its name."""
        for name in [name for name in ledger.fetching if name != own.name and self._remove_dead(name)]:
            size = ledger.fetching.pop(name)
            ledger.bytes -= 0 if (self.folder / name).with_suffix(".tar").exists() else size

    def _evict(self, ledger: Ledger, own: Path) -> Ledger:
        """Within the bound, or as near to it as what is being read allows."""
        self._remove_oldest(ledger, ledger.oldest)
        if ledger.bytes > self.limit_bytes:
            ledger, files = self._list(ledger, own)
            self._remove_oldest(ledger, files)
            ledger.oldest = files[:OLDEST]
        return ledger

    def _remove_oldest(self, ledger: Ledger, files: list[tuple[str, int, int]]) -> None:
        """Remove from the folder, and from `files`, as many of the first as need be. Those used meanwhile are younger
        than all others."""
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
    """
    Raises:
        ValueError: it is not the name of a file that a cache makes.
    """
    if not isinstance(name, str) or "/" in name or not OWN.fullmatch(name):
        raise ValueError(f"{name!r} is no shard of a cache")
    return name


def _remove_unused(path: Path, used: int) -> bool:
    """Remove a shard that nobody reads and nobody has used since; whether it is gone."""
    try:
        with open(path, "r+b") as file:
            if not take(file) or os.fstat(file.fileno()).st_mtime_ns != used:
                return False
            path.unlink(missing_ok=True)
            return True
    except FileNotFoundError:
        return True
