"""Work on threads whose results the main thread takes as they come, where Ctrl-C may interrupt it at any point.

In: a function, and what to call it with. Out: results, in the order in which they are ready.

Not a pool of `concurrent.futures`: its locks are Python code, and an interruption inside leaves them locked or releases
them twice (CPython 3.11: the process hangs, or ends with "release unlocked lock"). What a `queue.SimpleQueue` does
cannot be interrupted halfway.
"""

import queue
import threading
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


@dataclass
class _Result(Generic[R]):
    """What a call has returned or raised."""

    number: int
    value: R | None = None
    error: BaseException | None = None


class Threads(Generic[T, R]):
    """Daemon threads that call a function with one item after another."""

    def __init__(self, work: Callable[[T], R], threads: int, name: str) -> None:
        self._work = work
        self._items: queue.SimpleQueue[tuple[int, T] | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[_Result[R]] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._run, name=name, daemon=True) for _ in range(threads)]

    def results(self, items: Iterable[T], ahead: int) -> Generator[tuple[int, R]]:
        """Call the function with every item. Closing the generator drops the items that are not begun.

        Args:
            items: are taken when there is room for them.
            ahead: how many items are taken before the first result is awaited.

        Yields:
            The place of an item among `items`, and its result.

        Raises:
            Exception: the first that a call raises.
        """
        numbered = enumerate(items)
        try:
            for thread in self._threads:
                _start(thread)
            waiting = sum(map(self._add, islice(numbered, ahead)))
            while waiting:
                result = self._results.get()
                if result.error is not None:
                    raise result.error
                waiting -= 1
                yield result.number, result.value  # pyright: ignore[reportReturnType]  (R may hold None)
                waiting += sum(map(self._add, islice(numbered, 1)))
        finally:
            self._end()

    def join(self) -> None:
        """Wait for the items that are begun."""
        for thread in self._threads:
            if thread.is_alive():  # an interruption may have come before its start
                thread.join()

    def _add(self, item: tuple[int, T]) -> int:
        self._items.put(item)
        return 1

    def _end(self) -> None:
        """No further item is begun."""
        while not self._items.empty():
            try:
                self._items.get_nowait()
            except queue.Empty:  # a thread was faster
                break
        for _ in self._threads:
            self._items.put(None)

    def _run(self) -> None:
        while (item := self._items.get()) is not None:
            number, argument = item
            try:
                result = _Result(number, self._work(argument))
            except BaseException as error:
                result = _Result[R](number, error=error)
            self._results.put(result)
            del item, argument, result  # nothing of a call outlives it while the next is awaited


def _start(thread: threading.Thread) -> None:
    """Start a thread; an interruption of that is one.

    Python's own code waits for the thread to run, and an interruption there can become `release unlocked lock`.
    """
    try:
        thread.start()
    except RuntimeError as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise error.__context__ from None
        raise
