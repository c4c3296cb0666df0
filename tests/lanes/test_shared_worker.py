"""A worker that trials share, without Ray, in this process: they come and leave, and each ends as by itself."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from platform.config.data import DataConfig
from platform.config.evaluation import EvaluationConfig
from platform.config.sections import Config
from platform.data.index import Index, Split
from platform.experiment.member_folder import FAILED, FINISHED, UNFINISHED
from platform.lanes import member as member_module
from platform.lanes import shared_worker
from platform.lanes.lane import Lane, LaneMember
from platform.lanes.mailbox import Mailbox, Message
from platform.lanes.places import Places, TrialPlace
from platform.lanes.shared_worker import SharedWorker
from tests.lanes.fused_lanes import Ran, require_same, run, without_ray
from tests.lanes.ranks import Handle
from tests.training.conftest import few_images  # noqa: F401
from tests.training.test_loop import config

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("one_thread", "few_images", "_lane"),
]
Members = dict[str, Config]


@pytest.fixture
def _lane(monkeypatch: pytest.MonkeyPatch, digits: Index) -> None:
    train = Split("train", digits.split("train").shards[:1])  # 9 steps of 32 images an epoch
    without_ray(monkeypatch, replace(digits, splits=digits.splits | {"train": train}))


@pytest.fixture
def trials(digits_data: DataConfig) -> Members:
    """Of other rates, optimiser settings, seeds and orders; scored after the first of one and a half epochs."""
    cfg = config(digits_data, epochs=1.5, batch_size=32, every_s=1e-9)
    cfg = replace(cfg, evaluation=EvaluationConfig(views=[1], every_epochs=1))
    return {
        "p000-s0": cfg,
        "p001-s0": replace(cfg, optim=replace(cfg.optim, lr=0.02, weight_decay=1e-3)),
        "p002-s0": replace(cfg, seed=2, order_seed=1),
    }


@dataclass
class Trials:
    """A worker, and the trials that were sent to it."""

    folder: Path
    worker: SharedWorker = field(default_factory=lambda: SharedWorker(0))
    mailbox: Mailbox = field(default_factory=Mailbox)
    places: Places = field(default_factory=lambda: Places(8))
    ends: dict[str, Any] = field(default_factory=dict)  # what the call of each has returned or raised
    threads: list[threading.Thread] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.places.open(0, None)

    def begin(self, name: str, cfg: Config, *, is_scheduled: bool = False) -> TrialPlace:
        place = self.places.take(name)
        assert place
        self.begin_at(place, name, cfg, is_scheduled=is_scheduled)
        return place

    def begin_at(self, place: TrialPlace, name: str, cfg: Config, *, is_scheduled: bool = False) -> None:
        member = LaneMember(name, cfg, self.folder / "members" / name, None)
        lane = Lane(0, [member], Handle(self.mailbox), shared_worker="shared worker 0")

        def call() -> None:
            try:
                self.ends[name] = self.worker.train(lane, place, Handle(self.places), is_scheduled)
            except Exception as error:
                self.ends[name] = error

        self.threads.append(threading.Thread(target=call, daemon=True))
        self.threads[-1].start()

    def end(self) -> Ran:
        for thread in self.threads:
            thread.join()
        assert self.places.taken() == []
        assert self.worker._trainings == {}
        return Ran(self.folder, [each for each in self.mailbox.drain(0)[1] if isinstance(each, Message)])

    def until(self, holds: Callable[[], Any]) -> None:
        waiting = threading.Event()
        while not holds():
            waiting.wait(0.002)


@pytest.fixture
def alone(trials: Members, tmp_path: Path) -> Ran:
    return run(trials, tmp_path / "alone")


@pytest.fixture
def sent(tmp_path: Path) -> Trials:
    return Trials(tmp_path / "together")


def test_trials_at_one_worker_leave_what_they_leave_alone(
    trials: Members, alone: Ran, sent: Trials, monkeypatch: pytest.MonkeyPatch
):
    """And in the evaluation of all views at the end each has the others go first."""
    handed_on: list[str] = []
    monkeypatch.setattr(sent.worker._group, "hand_on", lambda place: handed_on.append(place.name))
    for name, cfg in trials.items():
        sent.begin(name, cfg)
    ran = sent.end()
    assert sent.ends == dict.fromkeys(trials, True)
    require_same(list(trials), alone, ran, trials)
    assert {name: ran.texts(name, "ended") for name in trials} == {name: [FINISHED] for name in trials}
    assert sent.places.steps_together() > len(trials)
    assert set(handed_on) == set(trials)


def test_one_that_diverges_and_one_that_raises_leave_the_others_as_they_were(
    trials: Members, alone: Ran, sent: Trials, monkeypatch: pytest.MonkeyPatch
):
    """What is final is the trial's end; any other error is the caller's, who sends it again."""
    diverging = replace(trials["p001-s0"], optim=replace(trials["p001-s0"].optim, lr=1e30))
    train, failing = member_module.train, trials["p002-s0"]

    def trained(cfg: Config, index: Any, worker: Any, folder: Path, report: Any, *more: Any) -> Any:
        def told(step: int, metrics: dict[str, float]) -> None:
            report(step, metrics)
            if cfg is failing and step == 2:
                raise RuntimeError("an error of its own")

        return train(cfg, index, worker, folder, told, *more)

    with monkeypatch.context() as patched:
        patched.setattr(member_module, "train", trained)
        for name, cfg in (trials | {"p001-s0": diverging}).items():
            sent.begin(name, cfg)
        ran = sent.end()
    assert (sent.ends["p000-s0"], sent.ends["p001-s0"]) == (True, True)
    assert str(sent.ends["p002-s0"]) == "an error of its own"
    require_same(["p000-s0"], alone, ran, trials)
    state = ran.member("p001-s0").state()
    assert state.state == FAILED
    assert state.error.startswith("NonFiniteLoss")
    state = ran.member("p002-s0").state()
    assert (state.state, state.starts, state.error) == (UNFINISHED, 1, "RuntimeError: an error of its own")
    sent.begin("p002-s0", failing)
    require_same(["p002-s0"], alone, sent.end(), trials)


def test_one_that_the_scheduler_stops_leaves_the_others_as_they_were(trials: Members, alone: Ran, sent: Trials):
    """Two wait for its answer: one may go on, the other is to leave, and later goes on elsewhere."""
    sent.begin("p000-s0", trials["p000-s0"])
    sent.begin("p001-s0", trials["p001-s0"], is_scheduled=True)
    place = sent.begin("p002-s0", trials["p002-s0"], is_scheduled=True)
    sent.until(lambda: sent.mailbox.unanswered_scores("p002-s0"))
    assert sent.mailbox.unanswered_scores("p002-s0").epoch == 1
    sent.worker.dismiss(place, Handle(sent.places))
    sent.until(lambda: sent.mailbox.unanswered_scores("p001-s0"))
    sent.until(lambda: "p000-s0" in sent.ends)  # nobody waits for those that wait for an answer
    sent.mailbox.continue_trial("p001-s0")
    ran = sent.end()
    assert sent.ends == {"p000-s0": True, "p001-s0": True, "p002-s0": False}
    require_same(["p000-s0", "p001-s0"], alone, ran, trials)
    assert ran.member("p002-s0").state().state == UNFINISHED
    assert 0 < ran.state("p002-s0", trials["p002-s0"])["step"] < alone.state("p002-s0", trials["p002-s0"])["step"]
    sent.mailbox.continue_trial("p002-s0")
    sent.begin("p002-s0", trials["p002-s0"])
    require_same(["p002-s0"], alone, sent.end(), trials)


def test_who_was_to_leave_before_it_came_is_not_taken(trials: Members, sent: Trials):
    place = sent.places.take("p000-s0")
    assert place
    sent.worker.dismiss(place, Handle(sent.places))
    assert sent.places.taken() == []
    sent.begin_at(place, "p000-s0", trials["p000-s0"])
    sent.end()
    assert sent.ends == {"p000-s0": False}
    sent.begin("p000-s0", trials["p000-s0"])
    sent.end()
    assert sent.ends == {"p000-s0": True}


def test_a_trial_begins_and_holds_the_worker_when_it_is_let_in(trials: Members, sent: Trials):
    """What it costs before is that of the others, who have the worker; one that leaves before has no start counted."""
    name = "p000-s0"
    with sent.worker._group._lock:
        place = sent.begin(name, trials[name])
        sent.until(lambda: sent.worker._group._lock.waiting)
        sent.worker.dismiss(place, Handle(sent.places), wait=False)
    ran = sent.end()
    assert not sent.mailbox._held_since
    assert ran.member(name).state().starts == 0
    with sent.worker._group._lock:
        sent.begin(name, trials[name])
        sent.until(lambda: sent.worker._group._lock.waiting)
        assert not sent.mailbox._held_since
    ran = sent.end()
    assert sent.mailbox._held_since.keys() == {0}
    assert sent.ends == {name: True}
    assert ran.member(name).state().starts == 1


def test_an_error_of_the_device_ends_the_process(trials: Members, sent: Trials, monkeypatch: pytest.MonkeyPatch):
    """Nothing can be computed in it any more; its trials start again in another."""
    ended: list[int] = []
    monkeypatch.setattr(shared_worker.os, "_exit", ended.append)

    def broken(*_: Any) -> Any:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(member_module, "train", broken)
    sent.begin("p000-s0", trials["p000-s0"])
    sent.end()
    assert ended == [1]
