"""Where a worker's training is, for the thread that watches it; and the requests for a checkpoint, the other way."""

import contextlib
import time
from collections.abc import Callable, Iterator

STARTING, WAITING, COMPUTING, EVALUATING, TESTING = (
    "starting",
    "waiting for data",
    "computing",
    "evaluating",
    "evaluating all views",
)
SAVING_IN_TIME = (WAITING, COMPUTING, EVALUATING)  # while there is a state to save


class Progress:
    """Written by the training thread, read by one that watches; both only ever replace whole values."""

    def __init__(self) -> None:
        self.from_step = -1  # of the checkpoint this start went on from; not known yet
        self.step = 0  # global steps done
        self.first_step_at = self.last_step_at = 0.0  # seconds since the epoch; 0: none yet
        self.doing = STARTING
        self.samples: Callable[[], str] = lambda: ""  # those of the step under way, for a message
        self.hand_on: Callable[[], None] = lambda: None  # has others of this process go first, within work that is long
        self._moved_at = time.monotonic()
        self._excused = False
        self._asked = self._taken = self._answered = 0
        self._asked_at = 0.0

    def restored(self, step: int, samples: Callable[[], str]) -> None:
        """Training goes on from `step`."""
        self.from_step, self.samples = step, samples
        self.at(step, WAITING)

    def at(self, step: int, doing: str) -> None:
        """Note how many global steps are done, and what comes next."""
        if step > max(self.from_step, self.step):
            self.last_step_at = time.time()
            self.first_step_at = self.first_step_at or self.last_step_at
        self.step, self.doing, self._moved_at = step, doing, time.monotonic()

    def moved(self) -> None:
        """Note that the worker makes progress, within a step or an evaluation too."""
        self._moved_at = time.monotonic()

    @contextlib.contextmanager
    def excused(self) -> Iterator[None]:
        """Somebody else has to answer, however long that takes: meanwhile nothing here has stalled."""
        self._excused = True
        try:
            yield
        finally:
            self.moved()
            self._excused = False

    def stalled_s(self) -> float:
        """Seconds since anything moved."""
        return 0.0 if self._excused else time.monotonic() - self._moved_at

    def ask_for_checkpoint(self) -> int:
        """Have the training save after one of its next steps; returns a ticket for `is_answered`."""
        if self._asked == self._taken:
            self._asked_at = time.monotonic()
        self._asked += 1
        return self._asked

    def checkpoint_asked_for_s(self) -> float:
        """Seconds since somebody asked for one that is not taken yet; 0 where nobody has."""
        return time.monotonic() - self._asked_at if self._asked > self._taken else 0.0

    def checkpoint_is_taken(self) -> Callable[[], None]:
        """Note that a requested checkpoint has its copy of the state; the function returned says that it is on disk."""
        self._taken = ticket = self._asked

        def safe() -> None:
            self._answered = max(self._answered, ticket)

        return safe

    def is_answered(self, ticket: int) -> bool:
        """Whether a checkpoint begun after the question is safe, or there is nothing to save."""
        return self._answered >= ticket or self.doing not in SAVING_IN_TIME
