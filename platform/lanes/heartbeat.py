"""A worker's heartbeat: a thread that tells the launcher where the training is, and ends a process that has stalled.

In: the training's progress, the launcher's requests for checkpoints, Ray's preemption notices. Out: beats.
"""

import contextlib
import functools
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import ray

from platform.config.data import MEMORY
from platform.config.sections import Config
from platform.data.reads import reads
from platform.lanes.mailbox import Beat, Sender
from platform.lanes.system_metrics import SystemMeter
from platform.lanes.usage import Usage
from platform.text import first_line
from platform.training.progress import COMPUTING, Progress
from platform.training.worker import Worker

BEAT_EVERY_S = 1.0
SAVE_EVERY_S = 5.0  # while the node is about to be taken away
JOIN_TIMEOUT_S = 5.0  # of a thread that is asked to end
PEER_WAITS_S = 30.0  # more, for one that may only be waiting for a stalled peer


class Heartbeat:
    """Beats while a member runs on this worker (use `with`).

    Args:
        config: the member's.
        sender: to the launcher.
        worker: which of the member's workers this is.
        progress: where its training is.
        lane: its number.
        preempted: whether Ray has said that a node of this group will be taken away.
        team: the first of the members that are trained together in this process; "": this one by itself.
    """

    def __init__(
        self,
        config: Config,
        sender: Sender,
        worker: Worker,
        progress: Progress,
        lane: int,
        preempted: Callable[[], bool],
        team: str = "",
    ) -> None:
        self._team = team or sender.member
        self._config, self._sender, self._worker, self._progress = config, sender, worker, progress
        self._lane, self._preempted = lane, preempted
        self._node_id = ray.get_runtime_context().get_node_id()
        self._gpus = (config.cluster.gpus_per_worker or 1) if worker.device.type == "cuda" else 0
        self._started = time.time()
        self._asked, self._ticket, self._answered = 0, 0, 0
        self._saved_at = time.monotonic()
        self._usage: Usage | None = None
        self._said: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        measure = functools.partial(self._try, "measuring", self._measure)
        self._measuring = threading.Thread(target=measure, name="system metrics", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._measuring.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in (self._thread, self._measuring):
            if thread.ident:
                thread.join(JOIN_TIMEOUT_S)  # not for ever: a driver that hangs holds whoever measures
        self._try("the last heartbeat", lambda: self._sender.beat(self._beat()))  # the last step counts, too

    def _run(self) -> None:
        while not self._stop.is_set():
            self._try("a heartbeat", self._beat_once)
            if self._worker.rank == 0:
                self._try("the look for a preemption", self._save_while_preempted)
            self._end_if_stuck()
            self._stop.wait(BEAT_EVERY_S)

    def _measure(self) -> None:
        """In a thread of its own: what it asks may fail, or hang."""
        every_s, cache = self._config.tracking.system_metrics_every_s, self._config.storage.cache
        disk = Path(tempfile.gettempdir() if cache == MEMORY else cache)
        meter = SystemMeter(self._worker.device, disk, every_s)
        meter.measure()  # from here on
        while not self._stop.wait(every_s):
            self._usage = meter.measure()

    def _try(self, what: str, act: Callable[[], object]) -> None:
        """What goes wrong here is said once, and ends nothing else."""
        try:
            act()
        except Exception as error:
            if what not in self._said:
                self._said.add(what)
                where = f"rank {self._worker.rank} on {self._worker.node}"
                with contextlib.suppress(Exception):
                    text = f"{where}: {what} failed ({type(error).__name__}: {first_line(error)}); the rest goes on"
                    self._sender.send("warning", text=text)

    def _beat_once(self) -> None:
        asked = self._sender.beat(self._beat(), wait_s=BEAT_EVERY_S)
        if asked is not None and asked > self._asked:
            self._asked, self._ticket = asked, self._progress.ask_for_checkpoint()
        if self._asked > self._answered and self._progress.is_answered(self._ticket):
            self._answered = self._asked
            self._sender.beat(self._beat())

    def _save_while_preempted(self) -> None:
        """The node goes when it goes; training goes on until then, and little of it is lost."""
        if self._preempted() and time.monotonic() - self._saved_at > SAVE_EVERY_S:
            self._progress.ask_for_checkpoint()
            self._saved_at = time.monotonic()

    def _end_if_stuck(self) -> None:
        """Ray starts the group again when a process of it has ended. One that computes may only be waiting for a peer's
        gradients, and the peer should be the one that is named."""
        limit = self._config.cluster.stall_timeout_s + (PEER_WAITS_S if self._progress.doing == COMPUTING else 0)
        if self._progress.stalled_s() > limit:
            with contextlib.suppress(Exception):
                self._sender.send("warning", text=f"{self._where()}; it is ended and started again")
            time.sleep(1)  # for the message to be sent
            os._exit(1)

    def _where(self) -> str:
        progress, worker, samples, read = self._progress, self._worker, "", reads.longest()
        with contextlib.suppress(Exception):  # they are looked up in the order of the data
            samples = progress.samples()
        stalled_s, hangs = progress.stalled_s(), ""
        if read and read.seconds > stalled_s / 2:  # else it goes on
            hangs = f"; reading {read.name} has taken {read.seconds:.0f} s so far: look at its file system"
        return (
            f"rank {worker.rank} on {worker.node} has stalled for {stalled_s:.0f} s at step "
            f"{progress.step}, {progress.doing} ({samples or 'no samples yet'}){hangs}"
        )

    def _beat(self) -> Beat:
        progress = self._progress
        return Beat(
            self._sender.member,
            self._lane,
            self._worker.rank,
            self._worker.world,
            self._worker.node,
            self._node_id,
            os.getpid(),
            self._started,
            time.time(),
            progress.from_step,
            progress.step,
            progress.first_step_at,
            progress.doing,
            progress.stalled_s(),
            self._answered,
            progress.last_step_at,
            self._usage,
            self._config.cluster.cpus_per_worker,
            self._gpus,
            team=self._team,
        )


def preemption_notice() -> Callable[[], bool]:
    """Whether a node of this worker group will be taken away: Ray Train's own notice, which each worker holds.

    `ray.train.get_preemption_info` would have every worker wait for every other.
    """
    from ray.train.v2._internal.execution.context import get_train_context

    context: Any = get_train_context()
    return lambda: context.preemption_context.preemption_info is not None
