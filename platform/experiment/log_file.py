"""A log of bounded size: its beginning and its end are kept, what is between them is left out and counted.

In: text as a process prints it. Out: FILE, and of longer ones FILE.first and FILE.before, each line without secrets.
"""

import contextlib
import os
import queue
import re
import threading
import time
from pathlib import Path
from typing import Any, TextIO

from platform.experiment.secrets import Mask

AGAIN_S = 30.0  # after which a file that could not be written is opened anew
LONGEST_LINE = 8192  # characters that wait for the end of their line
MOST_WAITING = 10_000  # texts that wait for a file system that does not take them
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_BAR = "\u2501"  # what bars are drawn with: each of their pictures replaces the one before


class LogFile:
    """Takes text and writes it at once, so that it is there when the process is killed. Thread-safe; never raises: a
    full disk is reported elsewhere, and later text is tried again."""

    def __init__(self, path: Path, part_bytes: int) -> None:
        """Begin, or go on with one that is there.

        Args:
            path: of the log.
            part_bytes: after so many its beginning is set aside, and then whatever is older than the last so many.
        """
        self.path = path
        self._mask = Mask()
        self._part_bytes, self._written, self._left_out = part_bytes, 0, 0
        self._lock = threading.RLock()  # a signal's handler may print while this thread does
        self._file = -1  # one number for good: faulthandler writes to it while the process dies
        self._open_again_at = 0.0
        self._open()

    def write(self, text: str) -> None:
        """Append lines, masked."""
        content = self._mask(text).encode("utf-8", "replace")
        with self._lock:
            if self._open_again_at and time.monotonic() >= self._open_again_at:
                self._open()
            self._append(content)
            if self._written > self._part_bytes:
                self._turn()

    def fileno(self) -> int:
        """Of the file, as long as it is not closed; -1 where there is none."""
        return self._file

    def close(self) -> None:
        """Nothing more is written."""
        with self._lock, contextlib.suppress(OSError):
            file, self._file, self._open_again_at = self._file, -1, 0.0
            if file >= 0:
                os.close(file)

    def _append(self, content: bytes) -> None:
        if self._file < 0:
            return
        try:
            self._written += os.write(self._file, content)
        except OSError:
            self._open_again_at = self._open_again_at or time.monotonic() + AGAIN_S

    def _open(self) -> None:
        """Have the number stand for the file at the path; if that cannot be opened, for what it stood for before."""
        self._open_again_at = 0.0
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError:
            self._open_again_at = time.monotonic() + AGAIN_S
            return
        if self._file < 0:
            self._file = file
        else:
            os.dup2(file, self._file, inheritable=False)
            os.close(file)

    def _turn(self) -> None:
        self._written = 0
        first, before = (self.path.with_name(f"{self.path.name}.{part}") for part in ("first", "before"))
        try:
            if first.exists():
                left_out = before.stat().st_size if before.exists() else 0
                self.path.replace(before)
                self._left_out += left_out
            else:
                self.path.rename(first)
        except OSError:  # it goes on in the same file, and this is tried again after as many bytes
            return
        self._open()
        if self._left_out:
            self._append(f"({self._left_out} bytes are left out between {first.name} and {before.name})\n".encode())


class LogQueue:
    """Hands text on to a log on a daemon thread, so that nobody waits for its file system: what a process had said
    just before it was killed may be missing, and what a file system that hangs did not take is counted."""

    def __init__(self, log: LogFile) -> None:
        self._log, self._waiting, self._dropped = log, queue.SimpleQueue[str | threading.Event](), 0
        threading.Thread(target=self._run, name="worker's log", daemon=True).start()

    def write(self, text: str) -> None:
        """Append lines soon; returns at once."""
        if self._waiting.qsize() < MOST_WAITING:
            self._waiting.put(text)
        else:
            self._dropped += 1

    def flush(self, longest_s: float) -> None:
        """Wait until what was said so far is written, but not longer than that."""
        written = threading.Event()
        self._waiting.put(written)
        written.wait(longest_s)

    def _run(self) -> None:
        while True:
            each = self._waiting.get()
            if isinstance(each, threading.Event):
                each.set()
                continue
            self._log.write(each)
            if self._dropped:
                dropped, self._dropped = self._dropped, 0
                self._log.write(f"({dropped} lines are left out: this file took none)\n")


class Tee:
    """A text stream whose text is also written to a log, line by line; otherwise it is the stream."""

    def __init__(self, stream: TextIO, log: LogFile | LogQueue) -> None:
        self._stream, self._log = stream, log
        self._begun = ""  # a line: half of a secret could not be masked
        self._lock = threading.RLock()

    def write(self, text: str) -> int:
        """Write to both. The log has no colours, and no pictures of bars."""
        with self._lock:
            begun = self._begun + text
            lines, end, self._begun = begun.rpartition("\n")
            if len(self._begun) > LONGEST_LINE:
                lines, end, self._begun = begun, "", ""
            self._keep(lines + end)
        return self._stream.write(text)

    def writelines(self, lines: list[str]) -> None:
        """Write lines to both."""
        for line in lines:
            self.write(line)

    def end(self) -> TextIO:
        """Write a line that was begun to the log; returns the stream."""
        with self._lock:
            begun, self._begun = self._begun, ""
            self._keep(begun)
        return self._stream

    def _keep(self, text: str) -> None:
        plain = _ESCAPES.sub("", text).replace("\r", "")
        if _BAR in plain:
            plain = "".join(line for line in plain.splitlines(keepends=True) if _BAR not in line)
        if plain:
            self._log.write(plain)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
