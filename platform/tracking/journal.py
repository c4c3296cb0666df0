"""An append-only file of JSON lines, the queue of what is to be delivered to MLflow: it survives any crash.

In: entries (plain dicts). Out: the oldest entries not delivered, in order. Each line has a number. A file beside the
journal has a line for each delivery: up to which number all is delivered, and new notes of the deliverer. The two agree
whenever the process dies. An entry may be read twice (again by the next process), never skipped.
"""

import contextlib
import itertools
import json
import logging
import os
import shutil
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platform.changes import append_change, read_changes
from platform.files import SUFFIX, write_atomically
from platform.text import first_line

log = logging.getLogger("platform")
EMPTIED_ABOVE = 1_000_000  # bytes of delivered lines after which the journal is emptied
CUT_ABOVE = 4_000_000  # the same, after which they are cut off while entries behind them wait
SHORTENED_ABOVE = 100_000  # bytes of the file beside it after which that is rewritten as one line


@dataclass(frozen=True)
class Entry:
    """One line of the journal."""

    number: int  # 1 for the first, and so on, also after the file was emptied
    content: dict[str, Any]


class Journal:
    """Any thread appends, one thread reads and marks as delivered; one process at a time.

    A signal handler that raises inside `append` (Ctrl-C) leaves the file whole: at worst a line is there twice, and
    read once.
    """

    def __init__(self, path: Path, *, for_reading: bool = False) -> None:
        """Open the journal at `path`, if it is there; nothing is written before the first `append`.

        Args:
            path: of the file.
            for_reading: another process may be writing it: a line that is not whole yet is left as it is.
        """
        self.path = path
        self._beside = path.with_suffix(".delivered.json")
        self._lock = threading.Lock()  # guards all below
        self._file: int | None = None
        self._unwritten: deque[tuple[Entry, bytes]] = deque()  # in memory, as the disk did not take them yet
        self._disk_is_full = False  # and was reported
        self._beside_is_whole = False  # and can be added to
        self._shortened_to = 0  # bytes of the file beside it
        self._unnoted: dict[str, Any] = {}  # of the notes: the disk did not take them yet
        self._delivered, self.notes = self._read_beside()
        self._next_at = 0  # bytes; no entry before is undelivered
        self._last_on_disk = self._delivered  # number of the last entry that is on disk or delivered
        self._find_end(cut=not for_reading)

    @property
    def waiting(self) -> int:
        """Number of entries not delivered yet."""
        with self._lock:
            return self._last() - self._delivered

    def append(self, content: dict[str, Any]) -> None:
        """Add an entry: to the operating system before this returns, or to memory where the disk refuses it."""
        with self._lock:
            entry = Entry(self._last() + 1, content)
            self._unwritten.append((entry, _line(entry)))
            self._write()

    def read(self, limit: int) -> list[Entry]:
        """The oldest entries not delivered, at most `limit`."""
        entries = list(itertools.islice(self.on_disk(), limit))  # not locked: `append` must not wait for a long read
        with self._lock:
            self._write()
            expected = entries[-1].number + 1 if entries else self._delivered + 1
            for entry, _ in itertools.islice(self._unwritten, limit - len(entries)):
                if entry.number == expected:  # else the disk took those before it in the meantime: they come first
                    entries.append(entry)
                    expected += 1
        return entries

    def on_disk(self) -> Iterator[Entry]:
        """Yield the entries not delivered, without those that wait in memory for the disk."""
        with contextlib.suppress(FileNotFoundError), self.path.open("rb") as file:
            file.seek(self._next_at)
            last = self._delivered
            for line in file:
                if not line.endswith(b"\n"):  # is being written
                    break
                entry = _parse(line)
                if entry and entry.number > last:
                    last = entry.number
                    yield entry
                elif last == self._delivered:
                    self._next_at += len(line)

    def delivered(self, number: int, notes: dict[str, Any]) -> None:
        """Mark all entries up to `number` as delivered, and keep new notes, in one write.

        Args:
            number: of an entry.
            notes: new or changed keys of `self.notes`; the write is as large as these alone.
        """
        with self._lock:
            self._delivered = number
            self.notes |= notes
            self._unnoted |= notes
            self._last_on_disk = max(self._last_on_disk, number)
            while self._unwritten and self._unwritten[0][0].number <= number:
                self._unwritten.popleft()
            try:
                self._write_beside(number)
            except OSError as error:
                self._report_full(error)  # after a crash some entries are read again
                return
            if number == self._last() and self.path.exists() and self.path.stat().st_size > EMPTIED_ABOVE:
                os.truncate(self.path, 0)  # numbers go on: dying before or after this line is the same
                self._next_at = 0
        self._cut_delivered()

    def close(self) -> None:
        """Write what waits in memory, if the disk takes it, and close the file."""
        with self._lock:
            self._write()
            self._close_file()

    def _close_file(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _cut_delivered(self) -> None:
        """Rewrite the file without its delivered beginning where that is most of it: with many members there is always
        an entry that waits, so that it is never emptied. What is left is the smaller part, so that all cuts together
        cost as much as writing the entries did."""
        unfinished = self.path.with_name(self.path.name + SUFFIX)
        try:
            if self._next_at <= CUT_ABOVE or 2 * self._next_at <= self.path.stat().st_size:
                return
            with self.path.open("rb") as old, unfinished.open("wb") as rest:
                old.seek(self._next_at)
                shutil.copyfileobj(old, rest)  # the most of it while others append
                with self._lock:
                    shutil.copyfileobj(old, rest)
                    rest.flush()
                    os.fsync(rest.fileno())
                    unfinished.replace(self.path)
                    self._close_file()
                    self._next_at = 0
        except OSError as error:  # it stays as long as it is
            log.debug("%s is not shortened (%s)", self.path, first_line(error))
            unfinished.unlink(missing_ok=True)

    def _read_beside(self) -> tuple[int, dict[str, Any]]:
        if not self._beside.exists():
            return 0, {}
        notes: dict[str, Any] = {}
        try:
            lines = read_changes(self._beside)
            for line in lines:
                notes |= line["notes"]
            delivered = int(lines[-1]["delivered"])
            self._beside_is_whole = True
            return delivered, notes
        except (ValueError, KeyError, TypeError, IndexError):
            log.warning("%s is not readable; %s is delivered anew", self._beside, self.path)
            return 0, {}

    def _write_beside(self, number: int) -> None:
        """Append a line to the file beside the journal, or rewrite it as one line where it has grown."""
        there = self._beside_is_whole and self._beside.exists()
        if there and self._beside.stat().st_size <= max(SHORTENED_ABOVE, 2 * self._shortened_to):
            append_change(self._beside, {"delivered": number, "notes": self._unnoted})
        else:
            write_atomically(self._beside, json.dumps({"delivered": number, "notes": self.notes}) + "\n")
            self._beside_is_whole, self._shortened_to = True, self._beside.stat().st_size
        self._unnoted = {}

    def _last(self) -> int:
        return self._unwritten[-1][0].number if self._unwritten else self._last_on_disk

    def _find_end(self, *, cut: bool) -> None:
        """Find the number of the last whole line, and `cut` off the torn one of a killed process behind it."""
        size = 0
        try:
            with self.path.open("rb") as file:
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    size += len(line)
                    entry = _parse(line)
                    self._last_on_disk = max(self._last_on_disk, entry.number if entry else 0)
        except FileNotFoundError:
            return
        if cut and size < self.path.stat().st_size:
            os.truncate(self.path, size)

    def _write(self) -> None:
        """Write what waits in memory, as far as the disk takes it."""
        try:
            while self._unwritten:
                entry, line = self._unwritten[0]
                self._write_line(line)
                self._last_on_disk = entry.number
                self._unwritten.popleft()
        except OSError as error:
            self._report_full(error)
        else:
            self._disk_is_full = False

    def _write_line(self, line: bytes) -> None:
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        size, written = os.fstat(self._file).st_size, 0
        try:
            while written < len(line):
                written += os.write(self._file, line[written:])
        except OSError:
            os.truncate(self._file, size)  # half a line would spoil the next
            raise

    def _report_full(self, error: OSError) -> None:
        if not self._disk_is_full:
            self._disk_is_full = True
            log.warning("%s cannot be written (%s); entries wait in memory", self.path, first_line(error))


def _line(entry: Entry) -> bytes:
    return json.dumps({"n": entry.number, **entry.content}).encode() + b"\n"


def _parse(line: bytes) -> Entry | None:
    """The line's entry; None where a failing disk has damaged it."""
    try:
        content = json.loads(line)
        return Entry(content.pop("n"), content)
    except (ValueError, KeyError, AttributeError):
        return None
