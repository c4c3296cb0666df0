"""Which members a launch has lanes train together, and how many lanes that makes."""

from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import torch

from platform.cluster.resources import Resources
from platform.experiment.folder import ExperimentFolder, Record
from platform.experiment.plan import MemberPlan, Plan
from platform.lanes import launcher
from platform.lanes.lane import Lane
from platform.lanes.launcher import Lanes
from platform.lanes.mailbox import Mailbox
from tests.composing import experiment_of
from tests.lanes.ranks import Handle

SIX = ["multi_scale", "small_crops", "large_crops", "photometric", "random_interpolation", "alexnet"]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Lane]:
    """The lanes that would have been started."""
    found: list[Lane] = []

    def in_thread(run: Any) -> "Future[None]":
        found.append(run.args[0])
        return Future()

    monkeypatch.setattr(launcher, "in_thread", in_thread)
    monkeypatch.setattr(launcher, "start_mailbox", lambda: Handle(Mailbox()))
    monkeypatch.setattr(launcher.ray, "get", lambda value, timeout=None: value)
    return found


def lanes(folder: Path, fuse: str, cpus: int, *trained: str) -> Lanes:
    experiment, _ = experiment_of("+experiment=googlenet_ens", f"cluster.fuse={fuse}", "cluster.gpus_per_worker=0")
    members = [MemberPlan(name, config, 10, 100) for name, config in experiment.members.items()]
    at = ExperimentFolder(folder)
    for name in trained:
        weights = at.member(name).weights
        weights.parent.mkdir(parents=True)
        torch.save({}, weights)
    planned = Plan(experiment, 1000, 100, packed=True, members=members)
    return Lanes(planned, at, Record({}, {}), list(experiment.members), Resources(1, cpus, 0))


def names(lane: Lane) -> list[list[str]]:
    return [[member.name for member in team] for team in lane.teams]


def test_without_fusing_members_are_dealt_one_by_one(started: list[Lane], tmp_path: Path):
    lanes(tmp_path, "off", 3)
    assert len(started) == 3
    assert all(len(team) == 1 for lane in started for team in names(lane))


def test_a_team_is_of_one_lane_and_there_are_no_more_lanes_than_teams(started: list[Lane], tmp_path: Path):
    made = lanes(tmp_path, "6", 7)
    assert sorted(map(names, started), key=len) == [[SIX], [["wider"]]]
    assert made.fused == [SIX]
    assert made.count == 2


def test_what_is_trained_is_evaluated_on_as_many_lanes_as_ever(started: list[Lane], tmp_path: Path):
    made = lanes(tmp_path, "6", 7, *SIX[:4])
    assert made.fused == [SIX[4:]]
    assert sorted(team for lane in started for team in names(lane)) == sorted(
        [SIX[4:], ["wider"], *([n] for n in SIX[:4])]
    )
    assert made.count == 6


def test_teams_that_no_lane_has_begun_are_taken_by_lanes_that_come_later(started: list[Lane], tmp_path: Path):
    made = lanes(tmp_path, "2", 1)
    (first,) = started
    assert sorted(len(team) for team in names(first)) == [1, 2, 2, 2]
    begun = started[0].teams[0][0].name
    assert made.mailbox.claim.remote(begun, 0)
    assert made.grow(Resources(4, 4, 0)) == 3
    for lane in started[1:]:
        assert begun not in [member.name for member in lane.members]
        assert lane.fused == made.fused
