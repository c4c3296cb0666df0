"""How many trials train side by side, at the launch and later; with nodes in tests/jobs/test_growing_sweep.py."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from platform.cluster.resources import Resources, gpus_per_worker
from platform.config.cluster import ClusterConfig
from platform.config.jobs import SweepConfig
from platform.config.sections import Config
from platform.experiment.folder import ExperimentFolder
from platform.sweep.plan import SweepPlan
from platform.sweep.space import parameters
from platform.tune import trial_lanes
from platform.tune.trial_lanes import TrialLanes

TWO_TO_FOUR = {"min": 2, "max": 4}
THREE, EIGHT = Resources(4, 96, 3), Resources(9, 256, 8)  # a GPU a node, and a head without
FOUR_RATES = [0.01, 0.02, 0.03, 0.04]


@dataclass
class Workers:
    """In the place of SharedWorkers, which has actors."""

    count: int
    each: int

    def add(self, count: int) -> None:
        self.count += count


@pytest.fixture(autouse=True)
def _workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_lanes, "SharedWorkers", lambda count, each, gpus, member, mailbox: Workers(count, each))


def lanes_of(cluster: ClusterConfig, there: Resources, trials: int = 12, **sweep: Any) -> TrialLanes:
    """Those of a sweep of so many trials that is launched on what is there."""
    settings: dict[str, Any] = {"space": {"optim.lr": FOUR_RATES}} | sweep
    config = Config(cluster=cluster, sweep=SweepConfig(**settings))
    base: Any = SimpleNamespace(experiment=SimpleNamespace(config=config))
    planned = SweepPlan(base, parameters(config.sweep.space), trials, trials, None, {})
    gpus, mailbox = gpus_per_worker(cluster, there), None
    return TrialLanes(planned, ExperimentFolder(Path("runs/grows")), there, gpus, mailbox)


@pytest.mark.parametrize(
    ("cluster", "first", "later", "left", "before", "after"),
    [
        (ClusterConfig(), THREE, EIGHT, 12, 3, 8),  # 3 of 8 pods were there in time
        (ClusterConfig(), THREE, EIGHT, 5, 3, 5),  # as many as there are trials for
        (ClusterConfig(), THREE, EIGHT, 2, 3, 3),
        (ClusterConfig(), THREE, Resources(3, 64, 2), 12, 3, 3),  # a node has gone: its trial waits for another
        (ClusterConfig(), THREE, Resources(1, 0, 0), 12, 3, 3),
        (ClusterConfig(), THREE, Resources(9, 512, 64), 12, 3, 12),
        (ClusterConfig(lanes=4), THREE, EIGHT, 12, 3, 4),
        (ClusterConfig(lanes=2), THREE, EIGHT, 12, 2, 2),
        (ClusterConfig(workers=2), Resources(4, 96, 5), EIGHT, 12, 2, 4),
        (ClusterConfig(workers=TWO_TO_FOUR), THREE, EIGHT, 12, 1, 2),
        (ClusterConfig(workers=TWO_TO_FOUR), THREE, Resources(5, 128, 4), 12, 1, 1),  # the one there is takes it
        (ClusterConfig(autoscaled=True, gpus_per_worker=1), Resources(1, 4, 0), EIGHT, 12, 12, 12),
        (ClusterConfig(autoscaled=True, gpus_per_worker=1, lanes=5), Resources(1, 4, 0), EIGHT, 12, 5, 5),
    ],
)
def test_trials_side_by_side_before_and_after_nodes_have_come(
    cluster: ClusterConfig, first: Resources, later: Resources, left: int, before: int, after: int
):
    lanes = lanes_of(cluster, first)
    assert lanes.side_by_side == before
    assert lanes.grow(later, left) == after - before
    assert lanes.side_by_side == after
    assert lanes.grow(later, left) == 0


def test_lanes_of_a_node_that_has_gone_are_those_of_the_one_in_its_place():
    lanes = lanes_of(ClusterConfig(), THREE)
    assert lanes.grow(Resources(3, 64, 2), 12) == 0
    assert lanes.grow(THREE, 12) == 0
    assert lanes.grow(Resources(5, 128, 4), 12) == 1


def test_trials_have_gpus_or_none_as_the_first_ones_had():
    """Nodes with GPUs that come to a cluster without are CPUs to it, and the other way round they are nothing."""
    assert lanes_of(ClusterConfig(), Resources(1, 2, 0)).grow(Resources(2, 10, 1), 12) == 8
    assert lanes_of(ClusterConfig(), Resources(1, 8, 1)).grow(Resources(9, 512, 1), 12) == 0


def test_the_trials_with_the_fewest_workers_decide():
    lanes = lanes_of(ClusterConfig(workers=4), Resources(1, 4, 0), trials=8, space={"cluster.workers": [1, 4]})
    assert lanes.side_by_side == 4
    assert lanes.grow(Resources(2, 6, 0), 8) == 2


def test_nodes_that_come_have_workers_for_trials_that_share_them():
    lanes = lanes_of(ClusterConfig(fuse=3), Resources(2, 1, 0))
    assert lanes.workers is not None
    assert (lanes.workers.count, lanes.side_by_side) == (1, 3)
    assert lanes.grow(Resources(4, 3, 0), 12) == 2
    assert (lanes.workers.count, lanes.side_by_side) == (3, 9)
    assert lanes.grow(Resources(9, 8, 0), 9) == 0  # each of them has a place
    assert lanes.grow(Resources(9, 8, 0), 10) == 1
    assert (lanes.workers.count, lanes.side_by_side) == (4, 12)


def test_pbt_has_workers_with_places_for_all_its_trials_and_needs_no_more():
    mutate = {"optim.lr": [0.8, 1.25]}
    lanes = lanes_of(ClusterConfig(fuse=2), Resources(2, 2, 0), trials=4, scheduler="pbt", mutate=mutate)
    assert lanes.side_by_side == 4
    assert lanes.grow(Resources(9, 8, 0), 4) == 0
