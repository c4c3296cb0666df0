"""Time limits for blocking calls without one: some file systems wait for their server without end.

In: a call. Out: what it returns, or TimeLimitPassed. A call that does not return stays on its daemon thread with its
connection, and delays neither the caller nor the end of the process.
"""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")
Task = tuple[Callable[[], Any], "Future[Any]"]


class TimeLimitPassed(Exception):
    """The call has not returned within its limit, which the message names."""


class TimeLimit(threading.local):
    """Runs calls on a daemon thread, one for each calling thread: fsspec keeps its connections by thread."""

    def __init__(self) -> None:
        self._beside: _Beside | None = None

    def run(self, call: Callable[[], T], limit_s: float) -> T:
        """Call, and return what it returns.

        Args:
            call: blocks.
            limit_s: seconds to wait for it.

        Raises:
            TimeLimitPassed: it has not returned within `limit_s`.
            Exception: whatever `call` raises.
        """
        beside, self._beside = self._beside or _Beside(), None  # after a failure a new one
        result: Future[T] = Future()
        beside.tasks.put((call, result))
        try:
            value = result.result(limit_s)
        except FileNotFoundError:  # the server has answered: keep the thread
            self._beside = beside
            raise
        except TimeoutError:
            if result.done():  # the call's own
                raise
            raise TimeLimitPassed(f"no answer within {limit_s:g} s") from None
        self._beside = beside
        return value


class _Beside:
    """A thread that ends with this object."""

    def __init__(self) -> None:
        self.tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        threading.Thread(target=_work, args=(self.tasks,), daemon=True, name="storage").start()

    def __del__(self) -> None:
        self.tasks.put(None)


def _work(tasks: "queue.SimpleQueue[Task | None]") -> None:
    while task := tasks.get():
        call, result = task
        try:
            result.set_result(call())
        except BaseException as error:  # to be raised where it was called
            result.set_exception(error)
        del task, call, result  # nothing of a call outlives it while the next is awaited
