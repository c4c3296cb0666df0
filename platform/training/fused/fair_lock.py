"""A lock that threads get in the order in which they asked for it: whoever holds it can let the others go first.

Python's own may be had again and again by a thread that releases it and asks anew.
"""

import threading
from collections import deque
from typing import Self


class FairLock:
    """One thread at a time has it (use `with`). A `threading.Condition` can be made of it."""

    def __init__(self) -> None:
        self._guard = threading.Lock()  # of the rest
        self._is_held = False
        self._line: deque[threading.Event] = deque()  # of each that waits one that says that it has the lock

    def acquire(self, blocking: bool = True) -> bool:
        """Wait for the lock; whether it was had, which without `blocking` is now or not."""
        with self._guard:
            if not self._is_held:
                self._is_held = True
                return True
            if not blocking:
                return False
            is_next = threading.Event()
            self._line.append(is_next)
        is_next.wait()
        return True

    def release(self) -> None:
        """Give the lock to the one that has waited longest."""
        with self._guard:
            if self._line:
                self._line.popleft().set()
            else:
                self._is_held = False

    def hand_on(self) -> None:
        """Have all go first that wait now; at once where nobody does."""
        with self._guard:
            if not self._line:
                return
            is_next = threading.Event()
            self._line.append(is_next)
            self._line.popleft().set()
        is_next.wait()

    @property
    def waiting(self) -> int:
        """How many threads wait for it."""
        return len(self._line)

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
