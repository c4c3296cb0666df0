"""The memory of this process that is of no file: what it has, and the most while something is done.

In: an action. Out: megabytes.
"""

import threading
from collections.abc import Callable
from pathlib import Path

LOOK_EVERY_S = 0.005


class Memory:
    """The most memory of this process that is of no file, above what it had at the beginning."""

    def __init__(self) -> None:
        self._before = self._most = anonymous_kb()
        self.ended = threading.Event()

    @property
    def peak_mb(self) -> float:
        return (self._most - self._before) / 1e3

    def watch(self) -> None:
        """Look again and again, until the end."""
        while not self.ended.wait(LOOK_EVERY_S):
            self._most = max(self._most, anonymous_kb())


def with_memory(action: Callable[[], None], memory: Memory) -> None:
    """Watch the memory beside an action."""
    thread = threading.Thread(target=memory.watch, daemon=True)
    thread.start()
    try:
        action()
    finally:
        memory.ended.set()
        thread.join()


def anonymous_kb() -> int:
    """What this process has of no file, in kB; 0 where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("RssAnon:")), 0)
