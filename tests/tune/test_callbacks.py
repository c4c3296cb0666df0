"""What the launcher does with the worker groups of trials, and what it costs with a thousand trials that have ended."""

from typing import Any

import pytest
import ray

from platform.lanes.mailbox import Mailbox
from platform.lanes.places import Places
from platform.sweep.trial_store import lane_of, name_of
from platform.tune import callbacks
from platform.tune.callbacks import PAUSED, RUNNING, TrialWatch
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
    monkeypatch.setattr(callbacks, "release", released.extend)
    monkeypatch.setattr(callbacks, "LOOK_EVERY_S", -1.0)
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


class Worker:
    """A shared worker's, which notes who is to leave."""

    def __init__(self) -> None:
        self.dismissed: list[str] = []

    def dismiss(self, place: Any, places: Any, *, wait: bool) -> None:
        assert not wait  # or the calls of one that is slow would be all that its worker may have at a time
        self.dismissed.append(place.trial)


def test_a_trial_leaves_its_worker_when_tune_has_ended_it_or_paused_it(released: list[str]) -> None:
    """Again and again until it has left: the call may come before the trial."""
    worker, places = Worker(), Places(8)
    places.open(0, Handle(worker))
    watch, trials = TrialWatch(Handle(Mailbox()), Handle(places)), [Trial(0), Trial(1), Trial(2)]
    begin(watch, trials)
    taken = {str(trial): places.take(str(trial)) for trial in trials}
    assert places.take(name_of(7, 0))  # of a trial of which Tune has not told yet
    trials[0].state, trials[2].state = "TERMINATED", "PAUSED"
    watch.on_step_end(1, trials)
    assert worker.dismissed == ["p000-s0", "p002-s0"]
    first = taken["p000-s0"]
    assert first
    places.free("p000-s0", first.number)
    watch.on_step_end(2, trials)
    assert worker.dismissed == ["p000-s0", "p002-s0", "p002-s0"]
    assert released == []


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


def test_trials_that_are_paused_are_counted_until_they_end(released: list[str]) -> None:
    watch, trials = TrialWatch(Handle(Mailbox())), [Trial(point) for point in range(4)]
    begin(watch, trials)
    for trial in trials[:3]:
        trial.state = PAUSED
    assert watch.paused() == 3
    watch.on_trial_complete(1, trials, trials[0])
    watch.on_trial_error(1, trials, trials[1])
    trials[3].state = "TERMINATED"
    watch.on_trial_complete(1, trials, trials[3])
    assert watch.paused() == 1
    watch.on_trial_start(2, trials, trials[2])
    trials[2].state = RUNNING
    assert watch.paused() == 0
