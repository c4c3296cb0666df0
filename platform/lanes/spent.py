"""What the members of a launch have cost so far: of those that have ended summed once, not at each question.

In: who begins and ends, and their attempts. Out: the sum, which never falls: Prometheus takes a counter that does for
one that has begun anew, and adds all of it again.
"""

import threading
from collections.abc import Iterable

from platform.experiment.cost import Cost
from platform.lanes.attempts import Attempts


class Spent:
    """The cost of members. Any thread may call it.

    Args:
        attempts: those of a member that has ended change no more until it begins again.
    """

    def __init__(self, attempts: Attempts) -> None:
        self._attempts = attempts
        self._lock = threading.Lock()  # of the rest
        self._at_work: dict[str, None] = {}
        self._ended: dict[str, Cost] = {}
        self._sum = Cost()  # of those that have ended
        self._newest = Cost()  # that was said

    def begin(self, member: str) -> None:
        """A member is at work, for the first time or again."""
        with self._lock:
            self._at_work[member] = None
            if self._ended.pop(member, None):
                self._sum = sum(self._ended.values(), Cost())  # rare, and what is taken off a sum leaves its rounding

    def end(self, member: str) -> None:
        """A member has ended."""
        with self._lock:
            self._at_work.pop(member, None)
            if member not in self._ended:
                self._ended[member] = Cost.of(self._attempts.of(member))
                self._sum += self._ended[member]

    def now(self, waiting: Iterable[str], before: Cost) -> Cost:
        """The sum with that of members that wait, which earlier launches may have begun, and of what was before."""
        with self._lock:
            others = [name for name in dict.fromkeys([*self._at_work, *waiting]) if name not in self._ended]
            found = sum((Cost.of(self._attempts.of(name)) for name in others), before + self._sum)
            self._newest = Cost(max(found.cpu_s, self._newest.cpu_s), max(found.gpu_s, self._newest.gpu_s))
            return self._newest
