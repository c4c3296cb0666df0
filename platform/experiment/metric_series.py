"""A member's metrics on disk: all of them, and how many of them a launcher has handed on.

In: metrics of log steps, by the member's rank 0. Out: those that nobody has taken, or all.
"""

import contextlib
import json
import time
from pathlib import Path

from platform.files import append_line, write_atomically

Point = tuple[int, dict[str, float], float]  # step, metrics, seconds since the epoch


class MetricSeries:
    """`metrics.jsonl` of a member's folder, which is written by its worker and read by launchers."""

    def __init__(self, member: Path) -> None:
        self._all, self._taken = member / "metrics.jsonl", member / "metrics.taken"
        self._left = member / "reports.jsonl"  # by an earlier version: the end of its series, which nobody has taken

    def keep(self, step: int, metrics: dict[str, float]) -> None:
        """Append metrics, which the next launcher takes if the present one is killed now."""
        with contextlib.suppress(OSError):  # a full disk is reported elsewhere
            append_line(self._all, json.dumps([step, metrics, time.time()]))

    def take(self) -> list[Point]:
        """The metrics since the last time. A launcher that was killed meanwhile may have taken some of them, too."""
        self._take_left()
        try:
            start = int(self._taken.read_text())
        except (OSError, ValueError):
            start = 0
        try:
            with self._all.open("rb") as file:
                file.seek(start)
                text = file.read()
        except OSError:
            return []
        whole = text[: text.rfind(b"\n") + 1]  # the last line may be being written
        if whole:
            with contextlib.suppress(OSError):  # a full disk: they are taken again, and no point is logged twice
                write_atomically(self._taken, f"{start + len(whole)}\n")
        return _parsed(whole.decode(errors="replace"))

    def _take_left(self) -> None:
        """Make what an earlier version kept apart a part of the series; what comes before it has been taken."""
        with contextlib.suppress(FileNotFoundError):
            kept = _parsed(self._left.read_text(errors="replace"))
            with contextlib.suppress(OSError):  # a full disk: the next launch does it
                if not self._taken.exists():
                    write_atomically(self._taken, f"{self._all.stat().st_size if self._all.exists() else 0}\n")
                for step, metrics, at in kept:
                    append_line(self._all, json.dumps([step, metrics, at]))
                self._left.unlink()

    def read(self) -> list[Point]:
        """All that was kept, in order: of MLflow's long series this is the whole. Steps that a restart trained again
        are there twice."""
        try:
            return _parsed(self._all.read_text(errors="replace"))
        except OSError:
            return []


def _parsed(text: str) -> list[Point]:
    found = []
    for line in text.splitlines():
        with contextlib.suppress(ValueError):  # torn by a kill
            step, metrics, at = json.loads(line)
            found.append((step, metrics, at))
    return found
