"""Daemon threads: what ends one is said at once, and of one that stands still it can be asked where.

In: a name, and what the thread does. Out: a daemon: a process that ends does not wait for it.
"""

import logging
import queue
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from platform.text import first_line

log = logging.getLogger("platform")
Item = TypeVar("Item")
Result = TypeVar("Result")


class DaemonThread:
    """A thread that is running from the start; what it does must not raise."""

    def __init__(self, name: str, run: Callable[[], None]) -> None:
        self.error = ""  # what has ended it
        self._run = run
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def join(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)

    def where(self) -> str:
        """The function that it is in now, whoever's that is."""
        frame = sys._current_frames().get(self._thread.ident or 0)
        if frame is None:
            return "at its end"
        last = traceback.extract_stack(frame)[-1]
        return f"in {last.name} ({Path(last.filename).name}, line {last.lineno})"

    def _work(self) -> None:
        try:
            self._run()
        except BaseException as error:  # be it SystemExit: there is nobody above to tell
            self.error = f"{type(error).__name__}: {first_line(error)}"
            log.warning("the %s thread has ended (%s)", self._thread.name, self.error)


class Backlog(Generic[Item, Result]):
    """A daemon thread that works on items one after another, in the order they came; `work` must not raise."""

    def __init__(self, name: str, work: Callable[[Item], Result]) -> None:
        self._work = work
        self._given: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[Result] = queue.SimpleQueue()
        self.waiting = 0  # items that were put and not taken
        self.thread = DaemonThread(name, self._run)

    def put(self, item: Item) -> None:
        """Have an item worked on; returns at once."""
        self.waiting += 1
        self._given.put(item)

    def put_done(self, result: Result) -> None:
        """Add what needs no work: it is taken before items that still do."""
        self.waiting += 1
        self._done.put(result)

    def take(self) -> list[Result]:
        """The results that are there; returns at once."""
        found = []
        while not self._done.empty():
            found.append(self._done.get())
        self.waiting -= len(found)
        return found

    def _run(self) -> None:
        while True:
            self._done.put(self._work(self._given.get()))
