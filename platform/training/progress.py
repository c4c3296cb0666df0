"""Where a worker's training is, for whoever watches it, and what it is asked for meanwhile."""

import threading
import time

STARTING, WAITING, COMPUTING, EVALUATING = "starting", "waiting for data", "computing", "evaluating"


class Progress:
    """Written by the training thread, read by one that watches; both only ever replace whole values."""

    def __init__(self) -> None:
        self.step = 0  # global steps done
        self.doing = STARTING
        self.moved_at = time.monotonic()
        self.saved_step = -1  # of the newest checkpoint that is written
        self._asked = threading.Event()

    def at(self, step: int, doing: str) -> None:
        self.step, self.doing, self.moved_at = step, doing, time.monotonic()

    def still_for_s(self) -> float:
        """Seconds since anything moved."""
        return time.monotonic() - self.moved_at

    def ask_for_checkpoint(self) -> None:
        """Have the training save after its next step."""
        self._asked.set()

    def checkpoint_is_asked_for(self) -> bool:
        return self._asked.is_set()

    def checkpoint_is_taken(self) -> None:
        self._asked.clear()

    def saved(self, step: int) -> None:
        self.saved_step = step
