"""Which trials of a sweep train at which of the workers that they share: an actor that gives out the workers' places.

In: workers that open and close, trials that ask. Out: a place at the worker that has the fewest.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TrialPlace:
    """A trial's place at a shared worker."""

    trial: str
    number: int  # no two places have the same
    worker: int  # its number
    actor: Any  # Ray's handle of it, a SharedWorker


class Places:
    """The actor. It is on the launcher's node: if that dies, the sweep's launch is over anyway.

    Args:
        each: trials that a worker trains together at most.
    """

    def __init__(self, each: int) -> None:
        self._each, self._given = each, 0
        self._actors: dict[int, Any] = {}  # actors of those that are open, by number
        self._taken: dict[str, TrialPlace] = {}  # by trial
        self._steps_together = 0

    def open(self, worker: int, actor: Any) -> None:
        """A worker takes trials."""
        self._actors[worker] = actor

    def close(self, worker: int) -> None:
        """A worker is gone, and with it the places of its trials."""
        self._actors.pop(worker, None)
        self._taken = {trial: place for trial, place in self._taken.items() if place.worker != worker}

    def refuse(self, worker: int) -> None:
        """A worker takes no more trials, as its node leaves; those that are there stay until it goes."""
        self._actors.pop(worker, None)

    def take(self, trial: str) -> TrialPlace | None:
        """A place for a trial at the worker that has the fewest; None: there is none now, or the trial has one."""
        free = {worker: self._each - self._at(worker) for worker in self._actors}
        if trial in self._taken or not any(count > 0 for count in free.values()):
            return None
        worker = max(free, key=lambda number: free[number])
        self._given += 1
        self._taken[trial] = TrialPlace(trial, self._given, worker, self._actors[worker])
        return self._taken[trial]

    def free(self, trial: str, number: int, steps_together: int = 0) -> None:
        """A trial has left the place of that number, where so many of its steps were made with others'."""
        self._steps_together += steps_together
        if trial in self._taken and self._taken[trial].number == number:
            del self._taken[trial]

    def of(self, trial: str) -> TrialPlace | None:
        """The place that a trial has."""
        return self._taken.get(trial)

    def taken(self) -> list[TrialPlace]:
        """All places that trials have."""
        return list(self._taken.values())

    def steps_together(self) -> int:
        """How many steps of trials that have left were made together with others'."""
        return self._steps_together

    def _at(self, worker: int) -> int:
        return sum(place.worker == worker for place in self._taken.values())
