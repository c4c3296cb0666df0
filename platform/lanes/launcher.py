"""Lanes: Ray Train worker groups side by side, each with its share of the members.

In: a plan and the cluster's resources. Out: lanes under way, in threads of this process, that fill one mailbox; more of
them where nodes come later.
"""

import functools
import time
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from platform.cluster.resources import Resources, deal, gpus_per_worker, lane_count, more_lanes, room
from platform.cluster.threads import in_thread
from platform.config.cluster import ClusterConfig
from platform.data.storage import join
from platform.experiment.folder import ExperimentFolder, Record
from platform.experiment.fused_plan import teams_of_launch
from platform.experiment.plan import Plan
from platform.experiment.teacher import TEACHING, Teacher
from platform.lanes.group_callback import GroupWatch
from platform.lanes.lane import Lane, LaneMember
from platform.lanes.mailbox import ANSWER_S, start_mailbox
from platform.lanes.shared_index import SharedIndex
from platform.lanes.worker import train_lane


class Lanes:
    """Worker groups under way, each a Ray Train run in a thread of this process."""

    def __init__(
        self, planned: Plan, folder: ExperimentFolder, record: Record, names: list[str], resources: Resources
    ) -> None:
        """Deal the members to lanes and start them.

        Args:
            planned: the members' configs and costs.
            folder: the experiment's.
            record: of the experiment, which knows where its copies go.
            names: the members to run.
            resources: the cluster's.

        Raises:
            ConfigError: GPUs are wanted that the workers do not have.
        """
        config = planned.experiment.config
        self._planned, self._folder = planned, folder
        self._gpus = gpus_per_worker(config.cluster, resources)
        config.loader.require_gpu(available=self._gpus > 0)
        self._cluster = replace(config.cluster, gpus_per_worker=self._gpus)
        self._teams = {team[0]: team for team in self._dealt_out(planned, names, resources)}  # by the first's name
        count = lane_count(self._cluster, resources, len(self._teams))
        self._room = room(self._cluster, resources, self._gpus)  # when lanes were last counted
        self.mailbox: Any = start_mailbox()  # Ray's handle of a Mailbox
        self._index = SharedIndex.of(planned.index, config.data) if planned.index else None
        self.futures: list[Future[None]] = []  # of the threads that run them; a lane's number is its place
        costs = {member.name: member.cost for member in planned.members}
        self._costs = {first: sum(costs[name] for name in team) for first, team in self._teams.items()}
        self._stamp = time.strftime("%Y%m%d-%H%M%S")
        taught = config.distill.teacher is not None and config.job in TEACHING
        self._teacher = Teacher.of(config).members if taught else []
        self._copies = join(config.checkpoint.copy_to, record.copies) if config.checkpoint.copy_to else None
        for firsts in deal(self._costs, count):
            self._start(firsts)

    def _dealt_out(self, planned: Plan, names: list[str], resources: Resources) -> list[list[str]]:
        """The members as teams that are trained together, of one where a member is trained by itself, or already."""
        trained = [name for name in names if self._folder.member(name).is_trained()]
        configs = {name: planned.experiment.members[name] for name in names if name not in trained}
        alone = lane_count(self._cluster, resources, len(names))
        return [*teams_of_launch(configs, alone, on_gpu=self._gpus > 0), *([name] for name in trained)]

    @property
    def fused(self) -> list[list[str]]:
        """The names of members that are trained together."""
        return [team for team in self._teams.values() if len(team) > 1]

    @property
    def count(self) -> int:
        """How many were started."""
        return len(self.futures)

    def grow(self, resources: Resources) -> int:
        """Start more lanes if the cluster has become larger and there are members that no lane has begun: a team is of
        the lane that begins it first. Returns how many; none once every lane has ended.

        Args:
            resources: what the cluster has now.
        """
        now = room(self._cluster, resources, self._gpus)
        running = [lane for lane, future in enumerate(self.futures) if not future.done()]
        if not running or now <= self._room:
            return 0
        claims: dict[str, int] = ray.get(self.mailbox.claims.remote(), timeout=ANSWER_S)
        waiting = [name for name in self._costs if name not in claims]
        beginning = sum(lane not in claims.values() for lane in running)  # each will take one
        more = more_lanes(self._cluster, resources, len(running), len(waiting) - beginning)
        for _ in range(more):
            self._start(sorted(waiting, key=lambda name: -self._costs[name]))
        self._room = now
        return more

    def _start(self, firsts: list[str]) -> None:
        """Start a lane for the teams of these members."""
        number, config = len(self.futures), self._planned.experiment.config
        names = [name for first in firsts for name in self._teams[first]]
        members = [
            LaneMember(
                name,
                self._planned.experiment.members[name],
                self._folder.member(name).path,
                join(self._copies, name) if self._copies else None,
                self._teacher,
            )
            for name in names
        ]
        export = config.export.models
        lane = Lane(number, members, self.mailbox, export=export, index=self._index, shared=True, fused=self.fused)
        storage, run = self._folder.path / "ray", f"{self._stamp}-lane{number}"
        self.futures.append(in_thread(functools.partial(fit_lane, lane, self._gpus, storage, run)))


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
