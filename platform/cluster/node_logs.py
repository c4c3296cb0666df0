"""Ray's own logs of a node, copied to where they outlive it.

In: the folder of the Ray that this process is connected to. Out: the ends of its logs, a few seconds old at most. One
process of a node copies; when it dies, the next one takes over, and copies what the dead one left. It may be one that
trains: it reads only what is new, and masks line by line, so that other threads run in between.
"""

import contextlib
import fcntl
import logging
import os
import shutil
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from platform.cluster.ray_internals import log_folder
from platform.files import append_line, write_atomically
from platform.text import first_line

log = logging.getLogger("platform")
KEPT = ("raylet.*", "gcs_server.*", "monitor.*", "worker-*.out", "worker-*.err")
EVERY_S = 5.0
FILE_BYTES, NODE_FILES = 256_000, 100  # the ends of files, at least so much; the newest files
MOST_NODES = 50  # of a launch: those whose logs are the newest
LOCK = "copied-by.lock"  # in Ray's folder: on the node's own disk, where locks work
LAST_S = 10.0  # for what is new at the end: a file system that hangs shall not hold up those who wait for it


@dataclass
class _Copied:
    """How far a log was copied."""

    seen: int = -1  # bytes it had when it was looked at
    read: int = 0  # bytes of these that were copied
    kept: int = 0  # bytes of the copy


class NodeLogs:
    """Copies on a daemon thread from now on, as soon as this process is connected."""

    def __init__(self, folder: Path, masked: Callable[[str], str]) -> None:
        """Begin.

        Args:
            folder: for one folder a node.
            masked: takes secrets out of a line.
        """
        self._folder, self._masked = folder, masked
        self._copied: dict[Path, _Copied] = {}
        self._left_out: set[str] = set()
        self._lock: IO[str] | None = None
        self._copying, self._over, self._warned = threading.Lock(), threading.Event(), False
        _running.append(self)
        threading.Thread(target=self._run, name="Ray's logs", daemon=True).start()

    def stop(self) -> None:
        """Copy what is new, within `LAST_S`, and end."""
        self._over.set()
        with contextlib.suppress(ValueError):
            _running.remove(self)
        if self.copy_soon() and self._lock:
            self._lock.close()

    def copy_soon(self) -> bool:
        """Copy what has changed on a thread of its own; whether that was done within `LAST_S`."""
        thread = threading.Thread(target=self.copy, args=(True,), name="the last of Ray's logs", daemon=True)
        thread.start()
        thread.join(LAST_S)
        if thread.is_alive():
            log.warning("Ray's newest logs are not copied: %s took nothing for %g s", self._folder, LAST_S)
        return not thread.is_alive()

    def copy(self, last: bool = False) -> None:
        """Copy what has changed, if it is for this process to do so.

        Args:
            last: also a line that has no end yet.
        """
        with self._copying:
            try:
                source = log_folder()
                if source is not None and source.is_dir() and self._is_mine(source):
                    self._copy(source, last=last)
            except Exception as error:  # the run is worth more than its logs
                if not self._warned:
                    log.warning("Ray's logs are not copied to %s (%s)", self._folder, first_line(error))
                self._warned = True

    def _run(self) -> None:
        while not self._over.wait(EVERY_S):
            self.copy()

    def _is_mine(self, source: Path) -> bool:
        if self._lock is None or Path(self._lock.name).parent != source:
            file = (source / LOCK).open("w")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.close()
                return False
            self._lock = file
        return True

    def _copy(self, source: Path, *, last: bool) -> None:
        target = self._folder / f"{socket.gethostname()}-{source.resolve().parent.name.removeprefix('session_')}"
        changed = dict[Path, float]()
        for file in (file for pattern in KEPT for file in source.glob(pattern)):
            with contextlib.suppress(FileNotFoundError):  # Ray removes some
                changed[file] = file.stat().st_mtime
        newest = sorted(changed, key=lambda file: changed[file], reverse=True)
        for file in newest[:NODE_FILES]:
            with contextlib.suppress(FileNotFoundError):
                self._copy_file(file, target, last=last)
        for file in newest[NODE_FILES:]:
            if file.name not in self._left_out:
                self._make(target)
                append_line(target / "left-out.txt", f"{file.name}: the newest {NODE_FILES} files are kept")
                (target / file.name).unlink(missing_ok=True)
                self._copied.pop(file, None)
                self._left_out.add(file.name)

    def _copy_file(self, file: Path, target: Path, *, last: bool) -> None:
        """Append what is new to the copy; write it anew where it is another process's, and where it grew too long."""
        copied, size = self._copied.get(file, _Copied()), file.stat().st_size
        if size == copied.read:
            return
        whole = last or size == copied.seen  # a line without an end, which nothing was added to
        anew = not copied.kept or size < copied.read or copied.kept + size - copied.read > 2 * FILE_BYTES
        start = max(0, size - FILE_BYTES) if anew else copied.read
        content = _read(file, start, size, whole=whole)
        text, stop = content.decode("utf-8", "replace"), start + len(content)
        if anew and start:
            cut, _, text = text.partition("\n")
            text = f"({start + len(cut.encode()) + 1} bytes before this are left out)\n{text}"
        kept = 0 if anew else copied.kept
        if kept or any(line and not line.startswith(":") for line in text.splitlines()):  # more than Ray's own marks
            masked = "".join(map(self._masked, text.splitlines(keepends=True))).encode()
            self._make(target)
            if anew:
                write_atomically(target / file.name, masked)
            else:
                with (target / file.name).open("ab") as copy:
                    copy.write(masked)
            kept += len(masked)
        self._copied[file] = _Copied(size, stop, kept)

    def _make(self, target: Path) -> None:
        """Make the folder of this node, in the place of that which was silent for longest if there are too many."""
        if target.is_dir():
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        nodes = sorted((each for each in self._folder.iterdir() if each.is_dir()), key=_last_change)
        for old in nodes[: max(0, len(nodes) + 1 - MOST_NODES)]:
            shutil.rmtree(old, ignore_errors=True)
            append_line(self._folder / "left-out.txt", f"{old.name}: removed, as {MOST_NODES} nodes are kept")
        target.mkdir(exist_ok=True)


def _read(file: Path, start: int, stop: int, *, whole: bool) -> bytes:
    """A part of a log; if not `whole`, its whole lines: half of a secret could not be masked."""
    with file.open("rb") as source:
        source.seek(start)
        content = source.read(stop - start)
    return content if whole else content[: content.rfind(b"\n") + 1]


def _last_change(folder: Path) -> float:
    times = [0.0]
    with contextlib.suppress(OSError):
        times += [entry.stat().st_mtime for entry in os.scandir(folder)]
    return max(times)


_running: list[NodeLogs] = []


def copy_now() -> None:
    """Copy what is new of the logs of this node, before they are removed."""
    for each in list(_running):
        each.copy_soon()
