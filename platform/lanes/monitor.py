"""What Prometheus is told of a launch, by member and worker, from what the launcher hears anyway.

In: heartbeats, metrics and ends of members, from the follower; their attempts. Out: samples, for whoever asks. Workers
export nothing themselves: they come and go, several to a machine, and would need ports and somebody who finds them.
What a question costs depends on who is at work, not on how many trials there have been.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import TYPE_CHECKING

from platform.experiment.cost import Cost, restarts
from platform.experiment.folder import ExperimentFolder
from platform.experiment.goodput import Attempt, Goodput, Times, read_attempts
from platform.lanes.attempts import Attempts
from platform.lanes.spent import Spent
from platform.lanes.worker_samples import worker_samples
from platform.monitoring.endpoint import Endpoint
from platform.monitoring.metrics import MEMBER_STATES, TIME_PARTS, Sample

if TYPE_CHECKING:
    from platform.config.experiment import Experiment
    from platform.lanes.mailbox import Beat

MOST_MEMBERS, MOST_WORKERS = 500, 1000  # with series of their own: 20,000 series at most
MOST_ENDED = 50  # of these members, the newest of those that have ended; the others are in the sums
KEEP_S = 600.0  # the series of a member that has ended: Prometheus asks a few times in that
WAITING, RUNNING, STOPPED = "waiting", "running", "stopped"
# Of the training's metrics, those that Prometheus gets.
FROM_TRAINING = {
    "progress": "platform_progress_ratio",
    "train/images_per_s": "platform_images_per_second",
    "train/loss": "platform_train_loss",
    "train/top1": "platform_train_top1_ratio",
    "train/lr": "platform_learning_rate",
    "data/wait_share": "platform_data_wait_ratio",
    "val/loss": "platform_val_loss",
    "val/top1": "platform_val_top1_ratio",
}


def exported(
    experiment: "Experiment", attempts: Attempts, folder: ExperimentFolder, members: Sequence[str]
) -> tuple["Monitor", Endpoint]:
    """A launch's monitor, and where Prometheus finds it. Close the latter.

    Args:
        experiment: for its name and `tracking.prometheus_address`.
        attempts: of the members that this launch runs.
        folder: of the experiment.
        members: all that count; those that the launch does not run have been finished before.
    """
    monitor = Monitor.of(experiment.name, attempts, folder, members)
    return monitor, Endpoint(experiment.config.tracking.prometheus_address, monitor.samples)


@dataclass
class _Member:
    """A member that may have series of its own."""

    values: dict[str, float] = field(default_factory=dict)  # metric -> the newest value
    ended_at: float = 0.0  # by the monotonic clock; 0: it has not
    world: int = 0  # no rank is beyond it


class Monitor:
    """Takes what the launcher hears, in its thread, and gives samples, in any.

    Args:
        experiment: its name.
        attempts: of the members that this launch runs.
        before: reads the attempts of members that earlier launches have finished, which count in the cost of the whole.
            Called when somebody asks for the first time, as of a sweep there may be thousands; again where it raised.
    """

    def __init__(
        self, experiment: str, attempts: Attempts, before: Callable[[], Iterable[Sequence[Attempt]]] = tuple
    ) -> None:
        self._experiment, self._attempts, self._before = experiment, attempts, before
        self._reading = threading.Lock()
        self._spent_before: Cost | None = None
        self._spent = Spent(attempts)
        self._lock = threading.Lock()  # of the next six
        self._members: dict[str, _Member] = {}  # at work, in the order in which they began
        self._ended: dict[str, _Member] = {}  # the newest of those that have ended, in that order
        self._beats: dict[tuple[str, int], Beat] = {}  # the newest of each (member, rank), in the order of the first
        self._states: dict[str, str] = {}  # of members that have begun
        self._counts: Counter[str] = Counter()  # of these
        self._queued = 0
        self._said: set[str] = set()
        self.warnings: list[str] = []  # to be said, and then removed by whoever says them

    @classmethod
    def of(cls, experiment: str, attempts: Attempts, folder: ExperimentFolder, members: Sequence[str]) -> "Monitor":
        """A launch's, of all members of an experiment: those that it does not run have been finished before."""
        others = [name for name in members if name not in set(attempts.names)]
        return cls(experiment, attempts, lambda: [read_attempts(folder.member(name).path) for name in others])

    def beat(self, beat: "Beat") -> None:
        """Take a heartbeat."""
        with self._lock:
            self._begin(beat.member)
            known = self._members[beat.member]
            if beat.rank == 0:
                known.values["platform_steps"] = beat.step
                for rank in range(beat.world, known.world):
                    self._beats.pop((beat.member, rank), None)  # the group has shrunk
                known.world = beat.world
            self._beats[beat.member, beat.rank] = beat
            known.world = max(known.world, beat.rank + 1)
        self._warn("members", len(self._members), MOST_MEMBERS)
        self._warn("workers", len(self._beats), MOST_WORKERS)

    def metrics(self, member: str, metrics: Mapping[str, float]) -> None:
        """Take the metrics of a log step or an evaluation."""
        found = {FROM_TRAINING[name]: float(value) for name, value in metrics.items() if name in FROM_TRAINING}
        with self._lock:
            if found and self._states.get(member) in (None, RUNNING):
                self._begin(member)
                self._members[member].values |= found

    def _begin(self, member: str) -> None:
        if member in self._members:
            return
        known = self._members[member] = self._ended.pop(member, None) or _Member()
        known.ended_at = 0.0
        self._enter(member, RUNNING)
        self._spent.begin(member)

    def _enter(self, member: str, state: str) -> None:
        self._counts[self._states.get(member, "")] -= 1
        self._counts[state] += 1
        self._states[member] = state

    def ended(self, member: str, how: str) -> None:
        """A member's workers have left it for good.

        Args:
            member: its name.
            how: `finished`, `failed: REASON`, `left by asha`, or the state of a sweep's trial.
        """
        first = how.partition(":")[0]
        self.workers_gone(member)
        with self._lock:
            if known := self._members.pop(member, None):
                known.ended_at, self._ended[member] = time.monotonic(), known
                if len(self._ended) > MOST_ENDED:
                    self._ended.pop(next(iter(self._ended)))
            self._enter(member, first if first in MEMBER_STATES else STOPPED)
        self._spent.end(member)

    def workers_gone(self, member: str) -> None:
        """A member's workers have ended; others may come."""
        with self._lock:
            world = self._members[member].world if member in self._members else 0
            for rank in range(world):
                self._beats.pop((member, rank), None)

    def turn(self, queued: int) -> None:
        """Take how many entries wait for MLflow, and drop the series of members that have ended long ago."""
        now = time.monotonic()
        with self._lock:
            self._queued = queued
            while self._ended and next(iter(self._ended.values())).ended_at < now - KEEP_S:
                self._ended.pop(next(iter(self._ended)))

    def _warn(self, what: str, count: int, most: int) -> None:
        if count > most and what not in self._said:
            self._said.add(what)
            self.warnings.append(
                f"Prometheus gets series of the first {most} {what} alone, to bound their number; the others are in "
                "the sums, and in MLflow"
            )

    def samples(self) -> Iterator[Sample]:
        """All that is known now."""
        with self._lock:
            named = islice(chain(self._members.items(), reversed(self._ended.items())), MOST_MEMBERS)
            members = {name: dict(each.values) for name, each in named}
            left_out = max(len(self._members) - MOST_MEMBERS, 0), max(len(self._beats) - MOST_WORKERS, 0)
            beats, counts, queued, begun = list(self._beats.values()), +self._counts, self._queued, len(self._states)
            waiting = [name for name in self._attempts.waiting if name not in self._states]
        counts[WAITING] += max(self._attempts.count - begun, 0)
        yield from self._of_launch(beats, counts, waiting, queued, left_out)
        for name, values in members.items():
            yield from self._of_member(name, values)
        for beat in beats[:MOST_WORKERS]:
            yield from worker_samples(self._experiment, beat, time.time())

    def _cost_before(self) -> Cost:
        """Two may ask at once, each in its thread."""
        with self._reading:
            if self._spent_before is None:
                self._spent_before = sum(map(Cost.of, self._before()), Cost())
            return self._spent_before

    def _of_launch(
        self, beats: list["Beat"], counts: Counter[str], waiting: list[str], queued: int, left_out: tuple[int, int]
    ) -> Iterator[Sample]:
        now, labels = time.time(), (self._experiment,)
        waiting_s = [self._attempts.waiting_s(name, now) for name in waiting]
        cost = self._spent.now(waiting, self._cost_before())
        for state in MEMBER_STATES:
            yield Sample("platform_members", (*labels, state), counts[state])
        workers = {beat.process: beat for beat in beats}.values()  # which members that are trained together share
        yield Sample("platform_workers", labels, len(workers))
        yield Sample("platform_gpus", labels, sum(beat.gpus for beat in workers))
        yield Sample("platform_cpus", labels, sum(beat.cpus for beat in workers))
        yield Sample("platform_waiting_seconds", labels, max(waiting_s, default=0.0))
        yield Sample("platform_experiment_gpu_seconds_total", labels, cost.gpu_s)
        yield Sample("platform_experiment_cpu_seconds_total", labels, cost.cpu_s)
        yield Sample("platform_tracking_queued_entries", labels, queued)
        for what, count in zip(("members", "workers"), left_out, strict=True):
            yield Sample("platform_series_left_out", (*labels, what), count)

    def _of_member(self, name: str, values: dict[str, float]) -> Iterator[Sample]:
        labels, attempts = (self._experiment, name), self._attempts.of(name)
        goodput, times, cost = Goodput.of(attempts), Times.of(attempts), Cost.of(attempts)
        for metric, value in values.items():
            yield Sample(metric, labels, value)
        yield Sample("platform_goodput_ratio", labels, goodput.training_share)
        yield Sample("platform_lost_seconds", labels, goodput.lost_s)
        for part in TIME_PARTS:
            yield Sample("platform_time_seconds", (*labels, part), getattr(times, f"{part}_s"))
        for cause, count in restarts(attempts).items():
            yield Sample("platform_restarts_total", (*labels, cause), count)
        yield Sample("platform_gpu_seconds_total", labels, cost.gpu_s)
        yield Sample("platform_cpu_seconds_total", labels, cost.cpu_s)
