"""Lanes: Ray Train worker groups side by side, each with its share of the members, and what they tell.

In: a plan and the cluster's resources. Out: beats, metrics and events of all lanes, handed on until the last has ended.
"""

import contextlib
import functools
import json
import math
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from platform.cluster.connect import CannotGoOn
from platform.cluster.ray_internals import log_folder
from platform.cluster.resources import Resources, deal, gpus_per_worker, lane_count
from platform.cluster.runtime_env import Unforked
from platform.cluster.scratch import last_words
from platform.cluster.threads import in_thread
from platform.config.cluster import ClusterConfig
from platform.data.storage import join
from platform.experiment.folder import ExperimentFolder, Record
from platform.experiment.plan import Plan
from platform.files import write_atomically
from platform.lanes.attempts import Attempts
from platform.lanes.console import Console
from platform.lanes.group_callback import GroupWatch
from platform.lanes.lane import Lane, LaneMember
from platform.lanes.mailbox import Beat, GroupEvent, Message, start_mailbox
from platform.lanes.worker import train_lane
from platform.text import first_line
from platform.tracking.runs import Runs
from platform.training.progress import COMPUTING

POLL_EVERY_S = 0.3
LIVE_EVERY_S = 1.0
HEAD_GONE_AFTER_S = 15.0
SILENT_AFTER_S = 30.0  # without a beat, which comes every second
WARN_AFTER_S = 60.0  # without progress; at the latest after half of cluster.stall_timeout_s
NOT_ALIVE_S = 60.0  # without any worker
FAILED_STARTS = 10  # in a row in which no worker of a lane came to life


def start_lanes(
    planned: Plan, folder: ExperimentFolder, record: Record, names: list[str], resources: Resources
) -> "Lanes":
    """Deal the members to lanes and start a Ray Train run for each, in threads of this process."""
    config = planned.experiment.config
    cluster = config.cluster
    gpus = gpus_per_worker(cluster, resources)
    config.loader.require_gpu(available=gpus > 0)
    count = lane_count(cluster, resources, len(names))
    mailbox = start_mailbox()
    costs = {member.name: member.cost for member in planned.members if member.name in names}
    stamp = time.strftime("%Y%m%d-%H%M%S")
    copies = join(config.checkpoint.copy_to, record.copies) if config.checkpoint.copy_to else None

    def fit(number: int, names: list[str]) -> None:
        members = [
            LaneMember(
                name,
                planned.experiment.members[name],
                folder.member(name).path,
                join(copies, name) if copies else None,
            )
            for name in names
        ]
        fit_lane(Lane(number, members, mailbox), gpus, folder.path / "ray", f"{stamp}-lane{number}")

    dealt = deal(costs, count)
    futures = [in_thread(functools.partial(fit, number, members)) for number, members in enumerate(dealt)]
    return Lanes(futures, mailbox, folder.live, min(WARN_AFTER_S, cluster.stall_timeout_s / 2))


def fit_lane(lane: Lane, gpus: int, storage: Path, name: str) -> None:
    """Run a lane as a Ray Train run; returns when its members have ended.

    Args:
        lane: its members.
        gpus: of each worker.
        storage: folder for Ray Train's own notes.
        name: of the run in there.
    """
    config = lane.members[0].config
    cluster = config.cluster
    TorchTrainer(
        train_lane,  # pyright: ignore[reportArgumentType]  # Ray hands it the config as it is, dict or not
        train_loop_config=lane,  # pyright: ignore[reportArgumentType]
        scaling_config=ScalingConfig(
            num_workers=_group_size(cluster),
            elastic_resize_monitor_interval_s=cluster.resize_check_s,
            use_gpu=gpus > 0,
            resources_per_worker={"CPU": cluster.cpus_per_worker} | ({"GPU": gpus} if gpus else {}),
        ),
        run_config=RunConfig(
            name=name,
            storage_path=str(storage),
            failure_config=FailureConfig(max_failures=-1),  # members count their starts: see member_state.py
            callbacks=[GroupWatch(lane.mailbox, lane.number, config.checkpoint.grace_s)],  # pyright: ignore[reportArgumentType]
        ),
        torch_config=TorchConfig(timeout_s=cluster.stall_timeout_s),
    ).fit()


def _group_size(cluster: ClusterConfig) -> int | tuple[int, int]:
    """A pair has Ray Train go on with fewer workers where some are lost, and take more where there are."""
    if cluster.min_workers == cluster.max_workers:
        return cluster.max_workers
    return cluster.min_workers, cluster.max_workers


@dataclass
class Lanes:
    """Worker groups under way."""

    futures: list[Future[None]]
    mailbox: Any
    live: Path
    warn_after_s: float
    news: Callable[[], None] = lambda: None  # called before what has come is handed on
    _beats: dict[tuple[str, int], Beat] = field(default_factory=dict)  # the newest of each (member, rank)
    _left_at: dict[str, float] = field(default_factory=dict)  # when a member last ended or failed, by the mailbox
    _received: int = 0  # number of the newest message that has come
    _live_at: float = 0.0
    _alive_at: float = field(default_factory=time.monotonic)  # when a worker was last heard of
    _said: set[str] = field(default_factory=set)
    _unforked: Unforked = field(default_factory=Unforked)
    _failed_starts: Counter[int] = field(default_factory=Counter)  # of each lane, in a row

    @property
    def count(self) -> int:
        return len(self.futures)

    def follow(self, runs: Runs, console: Console, attempts: Attempts) -> None:
        """Hand on what the workers tell until every lane has ended.

        Raises:
            CannotGoOn: every attempt would meet the same.
        """
        ended = False
        try:
            while not ended:
                ended = all(future.done() for future in self.futures)  # then once more, for the last messages
                time.sleep(0 if ended else POLL_EVERY_S)
                self._hand_on(runs, console, attempts)
                self._warn_of_stalls(console)
                self._warn_of_nobody(console)
        finally:
            self._unforked.say_totals(console.warn)
        for future in self.futures:
            if error := future.exception():
                console.warn(f"a lane ended early: {_last_line(error)}")

    def save(self, grace_s: float, runs: Runs, console: Console, attempts: Attempts) -> None:
        """Have every member save, and wait for it as long as that is allowed."""
        end = time.monotonic() + grace_s
        number = ray.get(self.mailbox.ask_for_checkpoints.remote())
        while time.monotonic() < end and not ray.get(self.mailbox.is_answered.remote(number)):
            time.sleep(POLL_EVERY_S)
            self._hand_on(runs, console, attempts)
        self._hand_on(runs, console, attempts)

    def _hand_on(self, runs: Runs, console: Console, attempts: Attempts) -> None:
        messages, beats = self._drain()
        self.news()
        for beat in beats:
            attempts.beat(beat)
            self._take_beat(beat)
        for message in messages:
            match message:
                case Message():
                    self._take_message(message, runs, console, attempts)
                case GroupEvent():
                    self._take_event(message, console, attempts)
        attempts.write()
        self._write_live()

    def _take_beat(self, beat: Beat) -> None:
        """But not of a worker that outlives its member's end by a second: nothing more will be heard of it."""
        self._alive_at = time.monotonic()
        if beat.started > self._left_at.get(beat.member, 0.0):
            self._beats[beat.member, beat.rank] = beat
            self._failed_starts[beat.lane] = 0

    def _drain(self) -> tuple[list[Message | GroupEvent], list[Beat]]:
        """
        Raises:
            CannotGoOn: the mailbox is gone, which is on the launcher's node: so is the cluster.
        """
        end = time.monotonic() + HEAD_GONE_AFTER_S
        while True:
            try:
                answer = self.mailbox.drain.remote(self._received)
                self._received, messages, beats = ray.get(answer, timeout=HEAD_GONE_AFTER_S)
                return messages, beats
            except RayError as error:
                if time.monotonic() > end:
                    raise CannotGoOn(f"the Ray cluster is gone ({first_line(error)})") from error
                time.sleep(POLL_EVERY_S)

    def _take_message(self, message: Message, runs: Runs, console: Console, attempts: Attempts) -> None:
        match message.kind:
            case "metrics":
                metrics = message.metrics or {}
                runs.log(message.member, message.step, metrics, message.time)
                if "progress" in metrics or "val/top1" in metrics:
                    console.metrics(message.member, message.step, metrics)
            case "state":
                console.state(message.member, message.text)
            case "ended":
                console.state(message.member, message.text)
                attempts.end(message.member, message.text, message.time)
                self._forget(message.member, message.time)
            case "unforked":
                self._unforked.add(message.text, console.warn)
            case "fatal":
                raise CannotGoOn(f"{message.member}: {message.text}")
            case _:
                console.warn(f"{message.member}: {message.text}")

    def _take_event(self, event: GroupEvent, console: Console, attempts: Attempts) -> None:
        member = attempts.event(event)
        if event.kind == "waiting":
            self._say_once(console, f"waiting for workers: {event.text}")
            return
        goes_on = {"failed": "; starting again from the newest checkpoint", "preempted": "; saving often until then"}
        console.warn(f"{member or f'lane {event.lane}'}: {event.text}{goes_on.get(event.kind, '')}")
        if event.kind == "failed":
            self._failed_starts[event.lane] += 1
            if member:
                self._forget(member, event.time)
            if self._failed_starts[event.lane] >= FAILED_STARTS:
                raise CannotGoOn(f"no worker of lane {event.lane} came to life in {FAILED_STARTS} starts: {event.text}")

    def _forget(self, member: str, left_at: float) -> None:
        self._left_at[member] = left_at
        for key in [key for key in self._beats if key[0] == member]:
            del self._beats[key]

    def _warn_of_stalls(self, console: Console) -> None:
        """Name who stands still, before it is ended: of several, those that do not only wait for one in an exchange."""
        now = time.time()
        silent: dict[str, list[Beat]] = {}
        still: dict[str, list[Beat]] = {}
        for (member, _), beat in self._beats.items():  # once: there may be thousands, and it is done at every poll
            if now - beat.at > SILENT_AFTER_S:
                silent.setdefault(member, []).append(beat)
            elif beat.still_for_s > self.warn_after_s:
                still.setdefault(member, []).append(beat)
        for member in silent | still:
            waiting = still.get(member, [])
            suspects = silent.get(member) or [beat for beat in waiting if beat.doing != COMPUTING] or waiting
            for beat in suspects:
                how = "has not been heard of" if member in silent else f"stands still, {beat.doing}"
                self._say_once(console, f"{member}: rank {beat.rank} on {beat.node} {how} at step {beat.step}")

    def _warn_of_nobody(self, console: Console) -> None:
        """Ray may wait for ever, for nodes or for processes that do not start, and says nothing."""
        if not self._beats and time.monotonic() - self._alive_at > NOT_ALIVE_S:
            self._alive_at = math.inf  # once, until the next beat
            console.warn(f"no worker has been at work for {NOT_ALIVE_S:g} s; waiting on{last_words(log_folder())}")

    def _say_once(self, console: Console, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            console.warn(text)

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
            write_atomically(self.live, json.dumps(workers, indent=1) + "\n")


def _last_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
