"""Ray's own logs of a node, copied to where they outlive it.

In: the folder of the Ray that this process is connected to. Out: the ends of its logs, a few seconds old at most. One
process of a node copies; when it dies, the next one takes over, and copies what the dead one left.
"""

import contextlib
import fcntl
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO

from platform.cluster.ray_internals import log_folder
from platform.files import append_line, write_atomically

KEPT = ("raylet.*", "gcs_server.*", "monitor.*", "worker-*.out", "worker-*.err")
EVERY_S = 5.0
FILE_BYTES, NODE_FILES = 256_000, 100  # the newest files; the ends of them
LOCK = "copied-by.lock"  # in Ray's folder: on the node's own disk, where locks work


class NodeLogs:
    """Copies on a daemon thread from now on, as soon as this process is connected."""

    def __init__(self, folder: Path, masked: Callable[[str], str]) -> None:
        """Begin.

        Args:
            folder: for one folder a node.
            masked: takes secrets out of a text.
        """
        self._folder, self._masked = folder, masked
        self._sizes: dict[Path, int] = {}
        self._left_out: set[str] = set()
        self._lock: IO[str] | None = None
        self._copying, self._over = threading.Lock(), threading.Event()
        _running.append(self)
        threading.Thread(target=self._run, name="Ray's logs", daemon=True).start()

    def stop(self) -> None:
        """Copy what is new and end."""
        self._over.set()
        self.copy()
        with contextlib.suppress(ValueError):
            _running.remove(self)
        if self._lock:
            self._lock.close()

    def copy(self) -> None:
        """Copy what has changed, if it is for this process to do so."""
        with self._copying, contextlib.suppress(OSError):  # a full disk; files that Ray removes meanwhile
            source = log_folder()
            if source is not None and source.is_dir() and self._is_mine(source):
                self._copy(source)

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

    def _copy(self, source: Path) -> None:
        target = self._folder / f"{socket.gethostname()}-{source.resolve().parent.name.removeprefix('session_')}"
        files = {file: file.stat() for pattern in KEPT for file in source.glob(pattern) if file.is_file()}
        newest = sorted(files, key=lambda file: files[file].st_mtime, reverse=True)
        for file in newest[:NODE_FILES]:
            if self._sizes.get(file) == files[file].st_size:
                continue
            text = tail(file, FILE_BYTES)
            if any(line and not line.startswith(":") for line in text.splitlines()):  # more than Ray's own marks
                target.mkdir(parents=True, exist_ok=True)
                write_atomically(target / file.name, self._masked(text))
            self._sizes[file] = files[file].st_size
        for file in newest[NODE_FILES:]:
            if file.name not in self._left_out:
                self._left_out.add(file.name)
                append_line(target / "left-out.txt", f"{file.name}: the newest {NODE_FILES} files are kept")


_running: list[NodeLogs] = []


def copy_now() -> None:
    """Copy what is new of the logs of this node, before they are removed."""
    for each in list(_running):
        each.copy()


def tail(file: Path, most: int) -> str:
    """The end of a log; where something comes before it, a first line says how much."""
    with file.open("rb") as log:
        start = max(0, os.fstat(log.fileno()).st_size - most)
        log.seek(start)
        text = log.read().decode("utf-8", "replace")
    if start:
        cut, _, text = text.partition("\n")
        text = f"({start + len(cut.encode()) + 1} bytes before this are left out)\n{text}"
    return text
