"""The journal's way to MLflow: a daemon thread that delivers entries in order, in batches, and each once.

In: the tracking journal. Out: the same in MLflow, which may be away at any time: refusing, failing, hanging.
"""

import logging
import threading
import time
from dataclasses import asdict
from itertools import takewhile
from typing import TYPE_CHECKING

from platform.config.tracking import TrackingConfig
from platform.daemon_thread import DaemonThread
from platform.text import first_line
from platform.tracking.journal import Entry, Journal
from platform.tracking.operations import decode

if TYPE_CHECKING:
    from platform.tracking.mlflow_store import DeliveredRun, Replica

log = logging.getLogger("platform")
ENTRIES_PER_BATCH = 1000
HELD_S = 20.0  # at most
GATHER_S = 0.2  # between batches, so that they are worth their transaction
REQUESTS_PER_S = 20  # at most, of metrics, while training goes on: the metrics of a run are gathered for so long
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0  # between attempts while MLflow is away
STUCK_AFTER = 8  # failures (about two minutes) of one operation while MLflow answers others: it is skipped
SAID_AFTER_S = 5.0  # without progress in `close`, before the wait is reported
AWAY_S, STALLED_S = 10.0, 60.0  # without progress in `close`, before it gives up: while MLflow is away, and otherwise
POLL_S = 0.05  # for progress; a Condition that Ctrl-C interrupts could keep its lock


class Delivery:
    """Delivers a journal; `go_on` when there is more, `close` at the end.

    Args:
        tracking: where MLflow is.
        journal: what is delivered, from the entries of earlier launches on.
        held: begin with `release`, `close`, or after `HELD_S`: importing MLflow would slow down what is more urgent.
    """

    def __init__(self, tracking: TrackingConfig, journal: Journal, *, held: bool = False) -> None:
        """Start the thread."""
        self._tracking, self._journal = tracking, journal
        self._released = threading.Event()
        if not held:
            self._released.set()
        self._more = threading.Event()  # something to deliver, or the end
        self._hurry, self._closing = threading.Event(), threading.Event()
        self._away = False
        self._failures = 0  # of the operation in hand, while MLflow answers others
        self._said: set[str] = set()
        self._more.set()
        self._thread = DaemonThread("tracking", self._deliver_all)

    def go_on(self) -> None:
        """There is more to deliver; returns at once."""
        self._more.set()

    def release(self) -> None:
        """Begin to deliver; returns at once."""
        self._released.set()

    @property
    def is_released(self) -> bool:
        return self._released.is_set()

    def close(self, wait_s: float) -> None:
        """Wait as long as there is progress, `wait_s` seconds without any while MLflow is away; then end the thread."""
        self._hurry.set()
        self._released.set()
        self._more.set()
        waiting, since, said = self._journal.waiting, time.monotonic(), False
        while waiting and self._thread.is_alive() and time.monotonic() - since < (wait_s if self._away else STALLED_S):
            time.sleep(POLL_S)
            if self._journal.waiting < waiting:
                waiting, since = self._journal.waiting, time.monotonic()
            elif not said and not self._away and time.monotonic() - since > SAID_AFTER_S:
                said = True
                log.warning("waiting for MLflow at %s to take %d entries", self._tracking.uri, waiting)
                log.debug("the delivery is %s", self._thread.where())
        self._closing.set()
        self._more.set()
        self._thread.join(1)  # it may hang in a request, which the next launch repeats: it is a daemon thread

    def _deliver_all(self) -> None:
        """The thread's loop: deliver batches, with growing pauses between attempts while MLflow is away."""
        self._released.wait(HELD_S)
        self._released.set()
        replica: Replica | None = None
        pause_s = FIRST_PAUSE_S
        entries: list[Entry] = []  # read, and not delivered: reading them again for each batch would take longer
        while not self._closing.is_set():
            entries = entries or self._journal.read(ENTRIES_PER_BATCH)
            batch = _first_batch(entries)
            if not batch:
                self._wait_for_more()
                continue
            try:
                replica = replica or self._replica()
                self._deliver(replica, batch)
            except Exception as error:  # MLflow raises what SQLAlchemy, requests and its own code raise
                self._say_away(error)
                self._pause(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                continue
            pause_s, self._failures, entries = FIRST_PAUSE_S, 0, entries[len(batch) :]
            runs = {entry.content.get("run") for entry in batch}
            self._note(batch[-1].number, {run: replica.runs[run] for run in runs if run in replica.runs})
            if not entries and len(batch) < ENTRIES_PER_BATCH:  # there is no more than that for now
                self._hurry.wait(gather_s(len(runs)))

    def _replica(self) -> "Replica":
        from platform.tracking.mlflow_store import DeliveredRun, Replica  # MLflow takes seconds to import

        return Replica(self._tracking, {run: DeliveredRun(**known) for run, known in self._journal.notes.items()})

    def _deliver(self, replica: "Replica", batch: list[Entry]) -> None:
        """Deliver a batch without what MLflow refuses for good, which is reported."""
        try:
            replica.deliver([decode(entry.content) for entry in batch])
        except Exception as error:  # of any of MLflow's libraries
            if not self._leaves_out(replica, error):
                raise
            if len(batch) > 1:  # find out which of them
                for entry in batch:
                    self._deliver(replica, [entry])
            else:
                self._say_refused(batch[0], error)

    def _leaves_out(self, replica: "Replica", error: Exception) -> bool:
        from platform.tracking.mlflow_connection import Unreachable, refuses

        if refuses(error):
            return True
        if isinstance(error, Unreachable) or not replica.answers():
            self._failures = 0
        else:
            self._failures += 1
        return self._failures >= STUCK_AFTER

    def _note(self, number: int, runs: dict[str, "DeliveredRun"]) -> None:
        if self._away:
            self._away = False
            log.warning("MLflow at %s is back", self._tracking.uri)
        if not self._closing.is_set():  # else the journal may be another's by now
            self._journal.delivered(number, {run: asdict(known) for run, known in runs.items()})

    def _wait_for_more(self) -> None:
        self._more.wait()
        self._more.clear()

    def _pause(self, seconds: float) -> None:
        if self._hurry.wait(seconds):
            self._closing.wait(FIRST_PAUSE_S)

    def _say_away(self, error: Exception) -> None:
        if not self._away:
            self._away = True
            log.warning(
                "MLflow at %s does not answer (%s); training goes on, metrics are queued in %s",
                self._tracking.uri,
                first_line(error),
                self._journal.path,
            )

    def _say_refused(self, entry: Entry, error: Exception) -> None:
        """Once for each reason."""
        content = entry.content
        message = f"MLflow at {self._tracking.uri} refuses {content.get('do')} of run {content.get('run')}"
        message += f" ({first_line(error)}); it is left out"
        if message not in self._said:
            self._said.add(message)
            log.warning("%s", message)


def gather_s(runs: int) -> float:
    """Seconds to gather metrics for after those of so many runs were delivered, in a request each."""
    return max(GATHER_S, runs / REQUESTS_PER_S)


def _first_batch(entries: list[Entry]) -> list[Entry]:
    """The metrics up to the first operation of another kind, or that one operation."""
    return list(takewhile(lambda entry: entry.content.get("do") == "metrics", entries)) or entries[:1]
