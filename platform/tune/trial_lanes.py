"""How many trials of a sweep train side by side: as many as fit at the launch, and more where nodes come later.

In: a sweep's plan, and what the cluster has. Out: lanes, each the workers of one trial, or a worker that several trials
share.
"""

import math
from dataclasses import replace
from typing import Any

from platform.cluster.resources import Resources, lane_count, more_lanes
from platform.config.cluster import FUSED_IF_SMALL
from platform.config.identity import replaced
from platform.config.sections import Config
from platform.experiment.folder import ExperimentFolder
from platform.lanes.lane import LaneMember
from platform.lanes.shared_workers import SharedWorkers
from platform.sweep.fused_trials import require_population, trials_together
from platform.sweep.plan import SweepPlan


class TrialLanes:
    """Those of one launch. Trials take them as they come; which trials there are does not depend on their number.

    Args:
        planned: the sweep's size and space.
        folder: the sweep's.
        resources: the cluster's.
        gpus: of each worker.
        mailbox: Ray's handle of a Mailbox.

    Raises:
        ConfigError: not even one trial fits, or PBT has more trials than places at shared workers.
    """

    def __init__(
        self, planned: SweepPlan, folder: ExperimentFolder, resources: Resources, gpus: int, mailbox: Any
    ) -> None:
        self._trials = planned.trials
        # GPUs as at the launch: trials of one sweep are not trained with and without one
        self._cluster = replace(smallest(planned).cluster, gpus_per_worker=gpus)
        self.count, self.each = lane_count(self._cluster, resources, planned.trials), 1
        self.workers = _shared_workers(planned, folder, resources, gpus, mailbox, alone=self.count)
        if self.workers:
            self.count, self.each = self.workers.count, self.workers.each

    @property
    def side_by_side(self) -> int:
        """How many trials train at a time."""
        return min(self.count * self.each, self._trials)

    def grow(self, resources: Resources, trials: int) -> int:
        """Add lanes if the cluster has room for more than there are, and trials are left that have none.

        Args:
            resources: what the cluster has now.
            trials: those that have not ended.

        Returns:
            how many were added. None is ever taken away: where a node is lost, its trials wait for another.
        """
        without = math.ceil(trials / self.each) - self.count
        more = more_lanes(self._cluster, resources, self.count, without)
        self.count += more
        if self.workers:
            self.workers.add(more)
        return more


def smallest(planned: SweepPlan) -> Config:
    """The experiment's config with the fewest workers that the sweep has."""
    return min(_sizes(planned), key=lambda config: config.cluster.max_workers)


def largest(planned: SweepPlan) -> Config:
    """The experiment's config with the most workers that the sweep has."""
    return max(_sizes(planned), key=lambda config: config.cluster.max_workers)


def _sizes(planned: SweepPlan) -> list[Config]:
    """The experiment's config with each number of workers that the sweep has."""
    config = planned.base.experiment.config
    workers = [choice for each in planned.space if each.key == "cluster.workers" for choice in each.choices]
    return [replaced(config, "cluster.workers", number) for number in workers] or [config]


def _shared_workers(
    planned: SweepPlan, folder: ExperimentFolder, resources: Resources, gpus: int, mailbox: Any, alone: int
) -> SharedWorkers | None:
    """The workers that train several trials each, under way; None: each trial trains by itself, `alone` of them side by
    side."""
    config = planned.base.experiment.config
    together = trials_together(config, planned.tried, planned.trials, alone, on_gpu=gpus > 0)
    if together == 1:
        return None
    count = lane_count(config.cluster, resources, math.ceil(planned.trials / together))
    member = LaneMember("trials", config, folder.path / "members" / "trials", None)
    each = min(together, math.ceil(planned.trials / count))
    if config.cluster.fuse == FUSED_IF_SMALL and config.sweep.scheduler == "pbt" and planned.trials > count * each:
        return None
    require_population(config, planned.trials, count * each)
    return SharedWorkers(count, each, gpus, member, mailbox)
