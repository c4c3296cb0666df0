"""Lanes side by side, each a worker or a Ray Train worker group with its share of the members.

In: a plan and the cluster's resources. Out: lanes under way, in threads of this process, that fill one mailbox; more of
them where nodes come later.
"""

import functools
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import ray

from platform.cluster.nodes import Departures
from platform.cluster.resources import Resources, deal, gpus_per_worker, lane_count, more_lanes, room
from platform.cluster.threads import in_thread
from platform.data.urls import join
from platform.experiment.folder import ExperimentFolder, Record
from platform.experiment.fused_plan import teams_of_launch
from platform.experiment.plan import Plan
from platform.experiment.teacher import TEACHING, Teacher
from platform.lanes.lane import Lane, LaneMember
from platform.lanes.lone_worker import run_alone
from platform.lanes.mailbox import ANSWER_S, start_mailbox
from platform.lanes.shared_index import SharedIndex


class Lanes:
    """Lanes under way, each run by a thread of this process."""

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
        self._departures = Departures()
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
        self.futures.append(in_thread(self._runner(lane)))

    def _runner(self, lane: Lane) -> Callable[[], None]:
        """What runs a lane until its members have ended."""
        if self._cluster.max_workers == 1:
            return functools.partial(run_alone, lane, self._gpus, self._departures)
        from platform.lanes.group import fit_lane  # Ray Train and torch take seconds to import

        storage, run = self._folder.path / "ray", f"{self._stamp}-lane{lane.number}"
        return functools.partial(fit_lane, lane, self._gpus, storage, run)
