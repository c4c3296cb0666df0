"""What follows the workers' messages, for lanes and sweeps alike.

In: a mailbox, and the futures of what fills it. Out: metrics to MLflow, states to the terminal, heartbeats to the
attempts, and warnings of workers that stall, until the last future is done.
"""

import contextlib
import json
import math
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from platform.cluster.connect import CannotGoOn
from platform.cluster.ray_internals import log_folder
from platform.cluster.runtime_env import Unforked
from platform.cluster.scratch import last_words
from platform.experiment.member_folder import FAILED
from platform.files import write_atomically
from platform.lanes.attempts import Attempts
from platform.lanes.console import Console
from platform.lanes.mailbox import Beat, GroupEvent, Message
from platform.lanes.monitor import Monitor
from platform.lanes.system_series import SystemSeries
from platform.text import first_line
from platform.tracking.runs import Runs
from platform.training.progress import COMPUTING, TESTING

POLL_EVERY_S = 0.3
LIVE_EVERY_S = 1.0
HEAD_GONE_AFTER_S = 15.0
SILENT_AFTER_S = 30.0  # without a heartbeat, which comes every second
WARN_AFTER_S = 60.0  # without progress; at the latest after half of cluster.stall_timeout_s
NOT_ALIVE_S = 60.0  # without any worker
MOST_SAID = 10_000  # warnings remembered, so as not to say them again
FAILED_STARTS = 10  # in a row in which no worker of a lane came to life


class Follower:
    """Hands on what workers tell, and warns of those that tell nothing or stall.

    Args:
        mailbox: Ray's handle of a Mailbox.
        live: file that says which process on which node is where, for people and job=chaos.
        stall_timeout_s: after which a worker that stalls ends itself.
        runs: get the metrics, and when a member's workers come and go.
        console: gets states, metrics and warnings.
        attempts: get the heartbeats, and why worker groups are started again.
        monitor: gets what Prometheus is told.
        before: called when messages have been fetched, before they are handed on: what it adds to `attempts` and
            `console` is there when the first message of it comes.
        after: called when they have been handed on.
    """

    def __init__(
        self,
        mailbox: Any,
        live: Path,
        stall_timeout_s: float,
        runs: Runs,
        console: Console,
        attempts: Attempts,
        monitor: Monitor,
        before: Callable[[], None] = lambda: None,
        after: Callable[[], None] = lambda: None,
    ) -> None:
        self._mailbox, self._live, self._before, self._after = mailbox, live, before, after
        self._runs, self._console, self._attempts, self._monitor = runs, console, attempts, monitor
        self._warn_after_s = min(WARN_AFTER_S, stall_timeout_s / 2)
        self._beats: dict[tuple[str, int], Beat] = {}  # the newest of each (member, rank)
        self._ended_at: dict[str, float] = {}  # when a member last ended or failed, by the mailbox
        self._received = 0  # number of the newest message that has come
        self._live_at = 0.0
        self._alive_at = time.monotonic()  # when a worker was last heard of
        self._system = SystemSeries()
        self._said: set[str] = set()
        self._pages_said = False
        self._unforked = Unforked()
        self._failed_starts: Counter[int] = Counter()  # of each lane, in a row

    def follow(self, futures: list[Future[None]]) -> None:
        """Hand on what the workers tell until every future is done.

        Args:
            futures: of the threads that run the worker groups, or Ray Tune; more may come while this runs.

        Raises:
            CannotGoOn: every attempt would meet the same.
        """
        ended = False
        try:
            while not ended:
                ended = all(future.done() for future in futures)  # then once more, for the last messages
                wait(futures, 0 if ended else POLL_EVERY_S)
                self._hand_on()
                ended = ended and all(future.done() for future in futures)  # handing on may have started another lane
                self._warn_of_stalls()
                self._warn_of_nobody()
        finally:
            self._unforked.say_totals(self._console.warn)
        for future in futures:
            if error := future.exception():
                self._console.warn(f"a lane ended early: {_last_line(error)}")

    def save(self, grace_s: float) -> None:
        """Have every member save, and wait for it `grace_s` seconds at most."""
        end = time.monotonic() + grace_s
        number = ray.get(self._mailbox.ask_for_checkpoints.remote())
        while time.monotonic() < end and not ray.get(self._mailbox.is_answered.remote(number)):
            time.sleep(POLL_EVERY_S)
            self._hand_on()
        self._hand_on()

    def _hand_on(self) -> None:
        messages, beats = self._drain()
        self._before()
        for beat in beats:
            self._runs.begin(beat.member, beat.started)
            self._attempts.beat(beat)
            self._take_beat(beat)
        for message in messages:
            match message:
                case Message():
                    self._take_message(message)
                case GroupEvent():
                    self._take_event(message)
        self._log_sums()
        self._after()
        self._attempts.write()
        self._runs.end_scored()
        self._monitor.turn(self._runs.queued)
        self._say_pages()
        self._write_live()

    def _log_sums(self) -> None:
        """What all workers use together, on the parent's run."""
        now = time.time()
        if metrics := self._system.sums(now):
            self._runs.log_sums(metrics, now)
        for warnings in (self._system.warnings, self._monitor.warnings):
            while warnings:
                self._console.warn(warnings.pop(0))

    def _say_pages(self) -> None:
        """Once MLflow has the runs, which takes seconds: where they can be watched."""
        if not self._pages_said and (pages := self._runs.pages):
            self._pages_said = True
            self._console.say("\n".join(pages.lines("watch")))

    def _take_beat(self, beat: Beat) -> None:
        """But not of a worker that outlives its member's end by a second: nothing more will be heard of it."""
        self._alive_at = time.monotonic()
        if beat.first_step_at or beat.doing == TESTING:  # until then MLflow's imports would slow down the start
            self._runs.deliver()
        if beat.started > self._ended_at.get(beat.member, 0.0):
            self._beats[beat.member, beat.rank] = beat
            self._monitor.beat(beat)
            if metrics := self._system.take(beat):
                self._runs.log(beat.member, 0, metrics, beat.at)
            self._failed_starts[beat.lane] = 0

    def _drain(self) -> tuple[list[Message | GroupEvent], list[Beat]]:
        """What has come since the last time.

        Raises:
            CannotGoOn: the mailbox is gone, which is on the launcher's node: so is the cluster.
        """
        end = time.monotonic() + HEAD_GONE_AFTER_S
        while True:
            try:
                answer = self._mailbox.drain.remote(self._received)
                self._received, messages, beats = ray.get(answer, timeout=HEAD_GONE_AFTER_S)
                return messages, beats
            except RayError as error:
                if time.monotonic() > end:
                    raise CannotGoOn(f"the Ray cluster is gone ({first_line(error)})") from error
                time.sleep(POLL_EVERY_S)

    def _take_message(self, message: Message) -> None:
        match message.kind:
            case "metrics":
                metrics = message.metrics or {}
                self._runs.log(message.member, message.step, metrics, message.time)
                self._monitor.metrics(message.member, metrics)
                if "progress" in metrics or "val/top1" in metrics:
                    self._console.metrics(message.member, message.step, metrics)
            case "state":
                self._console.state(message.member, message.text)
            case "ended":
                self._console.state(message.member, message.text)
                self._attempts.end(message.member, message.text, message.time)
                self._attempts.write(now=True)  # MLflow is told what is on disk
                self._runs.ended(message.member, message.time, message.text.partition(f"{FAILED}: ")[2])
                self._monitor.ended(message.member, message.text)
                self._forget(message.member, message.time)
            case "unforked":
                self._unforked.add(message.text, self._console.warn)
            case "fatal":
                raise CannotGoOn(f"{message.member}: {message.text}")
            case _:
                self._console.warn(f"{message.member}: {message.text}")

    def _take_event(self, event: GroupEvent) -> None:
        members = self._attempts.event(event)
        if event.kind == "waiting":
            self._say_once(f"waiting for workers: {event.text}")
            return
        goes_on = {
            "failed": "; starting again from the newest checkpoint",
            "lost": "; another one is started",
            "preempted": "; saving often until then",
        }
        whose = ", ".join(members) or event.whose or f"lane {event.lane}"
        self._console.warn(f"{whose}: {event.text}{goes_on.get(event.kind, '')}")
        if event.kind == "lost":
            self._failed_starts[event.lane] = 0
        if event.kind == "failed":
            self._failed_starts[event.lane] += 1
            for member in members:
                self._forget(member, event.time)
            if self._failed_starts[event.lane] >= FAILED_STARTS:
                raise CannotGoOn(f"no worker of lane {event.lane} came to life in {FAILED_STARTS} starts: {event.text}")

    def _forget(self, member: str, ended_at: float) -> None:
        self._ended_at[member] = ended_at
        for key in [key for key in self._beats if key[0] == member]:
            del self._beats[key]
        self._system.forget(member)
        self._monitor.workers_gone(member)

    def _warn_of_stalls(self) -> None:
        """Name who has stalled, before it is ended: of several, those that do not only wait for a peer's gradients."""
        now = time.time()
        silent: dict[str, list[Beat]] = {}
        stalled: dict[str, list[Beat]] = {}
        for (member, _), beat in self._beats.items():  # once: there may be thousands, and it is done at every poll
            if now - beat.at > SILENT_AFTER_S:
                silent.setdefault(member, []).append(beat)
            elif beat.stalled_s > self._warn_after_s:
                stalled.setdefault(member, []).append(beat)
        for member in silent | stalled:
            waiting = stalled.get(member, [])
            suspects = silent.get(member) or [beat for beat in waiting if beat.doing != COMPUTING] or waiting
            for beat in suspects:
                how = "has not been heard of" if member in silent else f"stalled, {beat.doing}"
                self._say_once(f"{member}: rank {beat.rank} on {beat.node} {how} at step {beat.step}")

    def _warn_of_nobody(self) -> None:
        """Ray may wait for ever, for nodes or for processes that do not start, and says nothing."""
        if not self._beats and time.monotonic() - self._alive_at > NOT_ALIVE_S:
            self._alive_at = math.inf  # once, until the next beat
            self._console.warn(
                f"no worker has been at work for {NOT_ALIVE_S:g} s; waiting on{last_words(log_folder())}"
            )

    def _say_once(self, text: str) -> None:
        if text not in self._said:
            if len(self._said) >= MOST_SAID:
                self._said.clear()
            self._said.add(text)
            self._console.warn(text)

    def _write_live(self) -> None:
        """For people and job=chaos: which process on which node is where."""
        if time.monotonic() - self._live_at < LIVE_EVERY_S:
            return
        self._live_at = time.monotonic()
        workers = [
            {"member": b.member, "rank": b.rank, "node": b.node, "node_id": b.node_id, "pid": b.pid, "step": b.step,
             "doing": b.doing, "at": b.at}
            for b in sorted(self._beats.values(), key=lambda beat: (beat.member, beat.rank))
        ]  # fmt: skip
        with contextlib.suppress(OSError):  # a full disk stops nothing here
            write_atomically(self._live, "[" + ",\n ".join(map(json.dumps, workers)) + "]\n")


def _last_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
