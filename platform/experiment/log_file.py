"""A log of bounded size: its beginning and its end are kept, what is between them is left out and counted.

In: text as a process prints it. Out: FILE, and of longer ones FILE.first and FILE.before, each line without secrets.
"""

import contextlib
import os
import re
import threading
from pathlib import Path
from typing import Any, TextIO

from platform.redaction import MASK, redacted

SECRET_NAME = re.compile(r"PASSWORD|PASSWD|SECRET|TOKEN|ACCESS_KEY|API_KEY|PRIVATE_KEY|CREDENTIAL", re.IGNORECASE)
PLACE = re.compile(r"_(PATH|FILE|DIR|NAME|MODE)$", re.IGNORECASE)  # where it is, not what
SHORTEST_SECRET = 8  # characters of a variable's value that is masked: shorter ones are parts of ordinary words
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_BAR = "\u2501"  # what bars are drawn with: each of their pictures replaces the one before


def masked(text: str) -> str:
    """A text without the secrets of URLs and without the values of variables that are called a secret."""
    for name, value in os.environ.items():
        if value in text and len(value) >= SHORTEST_SECRET and SECRET_NAME.search(name) and not PLACE.search(name):
            text = text.replace(value, MASK)
    return redacted(text)


class LogFile:
    """Takes text and writes it at once, so that it is there when the process is killed. Thread-safe; never raises."""

    def __init__(self, path: Path, part_bytes: int) -> None:
        """Begin, or go on with one that is there.

        Args:
            path: of the log.
            part_bytes: after so many its beginning is set aside, and then whatever is older than the last so many.
        """
        self.path = path
        self._part_bytes, self._written, self._left_out = part_bytes, 0, 0
        self._lock = threading.RLock()  # a signal's handler may print while this thread does
        self._file: Any = None
        self._open()

    def write(self, text: str) -> None:
        """Append it, masked."""
        content = masked(text).encode("utf-8", "replace")
        with self._lock, contextlib.suppress(OSError, ValueError):  # a full disk is reported elsewhere
            if self._file is not None:
                self._file.write(content)
                self._written += len(content)
                if self._written > self._part_bytes:
                    self._turn()

    def fileno(self) -> int:
        """Of the file, for what writes to it while the process dies."""
        return self._file.fileno() if self._file is not None else -1

    def close(self) -> None:
        """Nothing more is written."""
        with self._lock, contextlib.suppress(OSError):
            if self._file is not None:
                self._file.close()
            self._file = None

    def _open(self) -> None:
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("ab", buffering=0)
        self._written = 0

    def _turn(self) -> None:
        first, before = (self.path.with_name(f"{self.path.name}.{part}") for part in ("first", "before"))
        self.close()
        if not first.exists():
            self.path.rename(first)
        else:
            if before.exists():
                self._left_out += before.stat().st_size
            self.path.replace(before)
        self._open()
        if self._left_out:
            said = f"({self._left_out} bytes are left out between {first.name} and {before.name})\n".encode()
            self._file.write(said)


class Tee:
    """A text stream whose text is also written to a log; otherwise it is the stream."""

    def __init__(self, stream: TextIO, log: LogFile) -> None:
        self._stream, self._log = stream, log

    def write(self, text: str) -> int:
        """Write to both. The log has no colours, and no pictures of bars."""
        plain = _ESCAPES.sub("", text).replace("\r", "")
        if _BAR in plain:
            plain = "".join(line for line in plain.splitlines(keepends=True) if _BAR not in line)
        self._log.write(plain)
        return self._stream.write(text)

    def writelines(self, lines: list[str]) -> None:
        """Write lines to both."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
