"""A cluster's messages without a cluster: what workers would tell the launcher, second by second.

In: how many workers and lanes. Out: beats and metrics in a mailbox, and a launcher that takes them: its mailbox,
follower, attempts, console, monitor and the queue for MLflow are the platform's.
"""

import contextlib
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from platform.config.experiment import Experiment
from platform.config.sections import Config
from platform.config.tracking import TrackingConfig
from platform.experiment.folder import ExperimentFolder, Record
from platform.experiment.plan import MemberPlan, Plan
from platform.lanes.attempts import Attempts
from platform.lanes.console import Console
from platform.lanes.follower import Follower
from platform.lanes.mailbox import Beat, GroupEvent, Mailbox, Message
from platform.lanes.monitor import Monitor
from platform.lanes.usage import Usage
from platform.monitoring.server import exposition
from platform.tracking.runs import Runs
from platform.training.progress import COMPUTING

WORKERS_PER_LANE = 8
MEMBERS_PER_LANE = 3
MEASURED_EVERY_S = 10  # by each worker
SCRAPED_EVERY_S = 15  # by Prometheus
POLLS_PER_S = 3  # of the launcher
METRICS = ["train/loss", "train/top1", "train/lr", "train/epoch", "train/images_per_s", "data/wait_share"]
METRICS += [f"within_step/part{number}_ms" for number in range(14)]
LAUNCHED = 1_750_000_000.0  # seconds since the epoch


class Launcher(Follower):
    """A follower whose mailbox is in its own process."""

    def __init__(self, box: Mailbox, folder: ExperimentFolder, runs: Runs, console: Console, names: list[str]) -> None:
        self.attempts = Attempts(folder, names)
        self.monitor = Monitor("scale", self.attempts)
        super().__init__(box, folder.live, 120.0, runs, console, self.attempts, self.monitor)

    def turn(self) -> None:
        """One poll: hand on what has come, and look for workers that stall."""
        self._hand_on()
        self._warn_of_stalls()
        self._warn_of_nobody()

    def new_second(self) -> None:
        """What is written once a second is due again: simulated seconds pass faster than real ones."""
        self._live_at = self.attempts._write_at = 0.0

    def _drain(self) -> tuple[list[Message | GroupEvent], list[Beat]]:
        self._received, messages, beats = self._mailbox.drain(self._received)
        return messages, beats


class Simulation:
    """Workers of lanes that beat each second, whose rank 0 tells metrics each second, with members one after another.

    Args:
        folder: of the experiment.
        workers: of all lanes together.
        seconds: of a member's training, which has a log step a second.
        tracking: MLflow's address.
        every_s: seconds between two that are played; those between them are left out.
    """

    def __init__(self, folder: Path, workers: int, seconds: int, tracking: TrackingConfig, every_s: int = 1) -> None:
        self.lanes = max(1, workers // WORKERS_PER_LANE)
        self._world, self._seconds, self._every = workers // self.lanes, seconds, every_s
        self.names = [f"member{number}" for number in range(MEMBERS_PER_LANE * self.lanes)]
        config = Config(name="scale", output_dir=str(folder), tracking=tracking)
        members = {name: replace(config, order_seed=number) for number, name in enumerate(self.names)}
        self._experiment = Experiment(config, members)
        self._folder = ExperimentFolder(folder / "scale")
        self._box = Mailbox(clock=lambda: LAUNCHED + self.now)
        self.now = 0  # seconds since the launch
        self._usage = _usage()

    @contextlib.contextmanager
    def launcher(self) -> Iterator[Launcher]:
        """The launcher of these workers, with its runs in MLflow; what it prints goes nowhere."""
        record, planned = Record({}, {}), self._plan()
        runs = Runs(self._experiment, self._folder, record, self.names)
        with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.redirect_stderr(printed):
            console = Console(planned, self.names, self.lanes, plain=True)
            self._printed = printed
            with console:
                yield Launcher(self._box, self._folder, runs, console, self.names)
            runs.close()

    def second(self, launcher: Launcher, *, writes: bool = True) -> None:
        """A second of all workers, and of the launcher.

        Args:
            launcher: of these.
            writes: it writes files once in such a second, and polls several times; otherwise once in a real second.
        """
        self.now += self._every
        if writes:
            launcher.new_second()
        self._printed.seek(0)
        self._printed.truncate()
        for lane in range(self.lanes):
            self._second_of(lane)
        for _ in range(POLLS_PER_S if writes else 1):
            launcher.turn()
        if self.now // SCRAPED_EVERY_S > (self.now - self._every) // SCRAPED_EVERY_S:
            exposition(launcher.monitor.samples)

    def _second_of(self, lane: int) -> None:
        turn, step = divmod(self.now - 1, self._seconds)
        member = self.names[lane * MEMBERS_PER_LANE + turn % MEMBERS_PER_LANE]
        at = LAUNCHED + self.now
        began = LAUNCHED + turn * self._seconds + 0.5
        usage = replace(self._usage, number=self.now // MEASURED_EVERY_S)
        for rank in range(self._world):
            node = f"node{lane}"
            self._box.beat(
                Beat(member, lane, rank, self._world, node, node, 1, began, at, 0, step, began, COMPUTING, 0.1,
                     usage=usage, cpus=4, gpus=1, last_step_at=at)
            )  # fmt: skip
        progress = (step + 1) / self._seconds
        metrics = {"progress": progress} | {name: 1.0 / (number + step + 1) for number, name in enumerate(METRICS)}
        self._box.put(Message(member, "metrics", step + 1, metrics))
        if step + self._every >= self._seconds:
            self._box.put(Message(member, "ended", text="failed: simulated"))

    def _plan(self) -> Plan:
        per_epoch = max(1, self._seconds // 10)
        members = [
            MemberPlan(name, config, per_epoch, self._seconds) for name, config in self._experiment.members.items()
        ]
        return Plan(self._experiment, 1000, 100, packed=True, members=members)


def _usage() -> Usage:
    """What a worker of a GPU machine measures."""
    node: dict[str, Any] = {"cpu_utilization_percentage": 50.0, "system_memory_usage_megabytes": 5e4, "cpus": 64}
    counters = {f"network_{way}_megabytes": (1e3, 2e3) for way in ("receive", "transmit")}
    process = {"process_cpus_busy": 3.0, "process_memory_megabytes": 4e3}
    gpu = {"utilization_percentage": 95.0, "memory_usage_megabytes": 6e4, "power_usage_watts": 600.0}
    return Usage(0, MEASURED_EVERY_S, node, counters, process, gpu, "gpu_0")
