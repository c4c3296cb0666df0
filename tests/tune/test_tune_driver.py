"""What the launcher does with the worker groups of trials, and what it costs with a thousand trials that have ended."""

from typing import Any

import pytest
import ray

from platform.lanes.mailbox import Mailbox
from platform.sweep.trial_store import lane_of, name_of
from platform.tune import driver
from platform.tune.driver import RUNNING, TrialWatch
from tests.lanes.ranks import Handle


class Trial:
    """Tune's, which counts how often it is looked at."""

    def __init__(self, point: int) -> None:
        self.name, self.state, self.looks = name_of(point, 0), RUNNING, 0

    def __str__(self) -> str:
        return self.name

    @property
    def status(self) -> str:
        self.looks += 1
        return self.state


@pytest.fixture
def released(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The placement groups that were given back."""
    released: list[str] = []
    monkeypatch.setattr(driver, "release", released.extend)
    monkeypatch.setattr(driver, "LOOK_EVERY_S", -1.0)
    monkeypatch.setattr(ray, "get", lambda value, timeout=None: value)
    return released


def begin(watch: TrialWatch, trials: list[Any]) -> None:
    for trial in trials:
        watch.on_trial_start(0, trials, trial)


def test_what_a_trial_held_is_given_back_when_tune_has_ended_it_or_paused_it(released: list[str]) -> None:
    mailbox = Mailbox()
    watch, trials = TrialWatch(Handle(mailbox)), [Trial(0), Trial(1), Trial(2)]
    begin(watch, trials)
    for trial in trials:
        mailbox.group_started(lane_of(trial.name), f"group of {trial}")
    mailbox.group_started(lane_of(name_of(7, 0)), "group of a trial of which Tune has not told yet")
    trials[0].state, trials[2].state = "TERMINATED", "PAUSED"
    watch.on_step_end(1, trials)
    assert released == ["group of p000-s0", "group of p002-s0"]

    mailbox.group_started(lane_of(trials[0].name), "a group that came late")
    watch.on_step_end(2, trials)
    assert released[2:] == ["a group that came late"]


def test_of_a_thousand_trials_only_those_that_hold_workers_are_looked_at(released: list[str]) -> None:
    mailbox = Mailbox()
    watch, trials = TrialWatch(Handle(mailbox)), [Trial(point) for point in range(1000)]
    begin(watch, trials)
    for trial in trials[:-2]:
        trial.state = "TERMINATED"
    for trial in trials[-2:]:
        mailbox.group_started(lane_of(trial.name), f"group of {trial}")
    for step in range(5):
        watch.on_step_end(step, trials)
    assert sum(trial.looks for trial in trials) == 2 * 5
    assert released == []
