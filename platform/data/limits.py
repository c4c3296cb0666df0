"""Time limits for blocking calls without one: some file systems wait for their server without end.

In: a call. Out: what it returns, or TimeLimitPassed. A call that does not return stays on its daemon thread with its
connection, and delays neither the caller nor the end of the process.
"""

import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
MOST_ABANDONED = 32  # calls of this process that have not returned: each holds a thread, and what it writes
Results = queue.SimpleQueue[tuple[Any, BaseException | None]]  # what a call returns, or what it raises
Task = tuple[Callable[[], Any], Results]


class TimeLimitPassed(Exception):
    """The call has not returned within its limit, which the message names."""


class TimeLimit(threading.local):
    """Runs calls on a daemon thread, one for each calling thread: fsspec keeps its connections by thread.

    Args:
        abandoned: takes the calls that have not returned, of all threads; whoever gives the same shares their number.
        most: how many of these there may be.
    """

    def __init__(self, abandoned: "dict[int, Results]", most: int = MOST_ABANDONED) -> None:
        self._abandoned, self._most = abandoned, most  # by the identity of where their results would go
        self._beside: _Beside | None = None

    def run(self, call: Callable[[], T], limit_s: float) -> T:
        """Call, and return what it returns.

        Args:
            call: blocks.
            limit_s: seconds to wait for it.

        Raises:
            TimeLimitPassed: it has not returned within `limit_s`; or too many others never have.
            Exception: whatever `call` raises.
        """
        if len(self._abandoned) >= self._most:
            raise TimeLimitPassed(f"{len(self._abandoned)} calls before it have not returned")
        beside, self._beside = self._beside or _Beside(self._abandoned), None  # after a failure a new one
        results: Results = queue.SimpleQueue()  # no Future: Ctrl-C may interrupt one while it is locked
        beside.tasks.put((call, results))
        try:
            value, error = results.get(timeout=max(0, limit_s))
        except queue.Empty:
            self._abandoned[id(results)] = results
            if not results.empty():  # it has just returned
                self._abandoned.pop(id(results), None)
            raise TimeLimitPassed(f"no answer within {limit_s:g} s") from None
        if error is None or isinstance(error, FileNotFoundError):  # the server has answered: keep the thread
            self._beside = beside
        if error is not None:
            raise error
        return value


class _Beside:
    """A thread that ends with this object."""

    def __init__(self, abandoned: "dict[int, Results]") -> None:
        self.tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        threading.Thread(target=_work, args=(self.tasks, abandoned), daemon=True, name="storage").start()

    def __del__(self) -> None:
        self.tasks.put(None)


def _work(tasks: "queue.SimpleQueue[Task | None]", abandoned: "dict[int, Results]") -> None:
    while task := tasks.get():
        call, results = task
        try:
            results.put((call(), None))
        except BaseException as error:  # to be raised where it was called
            results.put((None, error))
        abandoned.pop(id(results), None)
        del task, call, results  # nothing of a call outlives it while the next is awaited
