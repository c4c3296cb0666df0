"""Trainings that join and leave one by one: each leaves what it leaves alone, whatever becomes of the others."""

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from torch import nn

from platform.config.data import DataConfig
from platform.config.models import GoogLeNetConfig
from platform.data.index import Index
from platform.training.fused.group import Dismissed, Group, Place
from platform.training.loop import train
from platform.training.meter import NonFiniteLoss
from platform.training.progress import Progress
from platform.training.worker import Worker
from tests.training.fused.test_group import Members, alone, require_same_ends
from tests.training.fused.trainings import require_close
from tests.training.test_loop import config, index, saved_state  # noqa: F401

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread", "few_images")]
Hook = Callable[[int], object]


def nothing(step: int) -> None:
    """After a step."""


@pytest.fixture
def members(digits_data: DataConfig) -> Members:
    """Of other seeds, orders, learning rates, and lengths: 4, 4 and 6 steps, saved after each."""
    cfg = config(digits_data, epochs=0.022, every_s=1e-9)
    return {
        "a": cfg,
        "b": replace(cfg, seed=1, order_seed=1, optim=replace(cfg.optim, lr=0.02)),
        "c": replace(cfg, seed=2, training=replace(cfg.training, epochs=0.033, averaging="ema")),
    }


@dataclass
class Trials:
    """Under way in one group."""

    members: Members
    data: Index
    folder: Path
    group: Group = field(default_factory=lambda: Group(torch.device("cpu"), is_open=True))
    networks: dict[str, nn.Module] = field(default_factory=dict)
    errors: dict[str, BaseException] = field(default_factory=dict)
    dismissed: dict[str, threading.Event] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    threads: list[threading.Thread] = field(default_factory=list)

    def join(self, name: str, hook: Hook = nothing, kind: str = "small") -> None:
        """Begin a training; returns when it waits to be let in, or runs."""

        def run() -> None:
            progress = Progress()
            place = self.places[name] = Place(self.group, name, progress, kind)
            self.networks[name] = train(
                self.members[name], self.data, Worker(), self.folder / name, report, progress, place=place
            )

        def report(step: int, metrics: dict[str, float]) -> None:
            if "train/loss" in metrics:
                hook(step)

        def work() -> None:
            try:
                self.group.join(name, run, 1, self.dismissed.setdefault(name, threading.Event()))
            except BaseException as error:
                self.errors[name] = error

        before = self.group._lock.waiting
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        self.threads.append(thread)
        while self.group._lock.waiting == before and name not in self.places and thread.is_alive():
            time.sleep(0.001)

    def end(self) -> None:
        for thread in self.threads:
            thread.join()


@pytest.fixture
def trials(members: Members, index: Index, tmp_path: Path) -> Trials:  # noqa: F811
    return Trials(members, index, tmp_path / "together")


def test_late_ones_join_at_the_next_step_and_all_end_as_alone(trials: Trials, tmp_path: Path):
    """The second when the first has made a step, the third when both have made another."""
    expected = alone(trials.members, trials.data, tmp_path / "alone")
    joins = {("a", 1): "b", ("b", 1): "c"}

    def hook(name: str) -> Hook:
        return lambda step: trials.join(joins[name, step], hook(joins[name, step])) if (name, step) in joins else None

    trials.join("a", hook("a"))
    trials.end()
    assert not trials.errors
    for name, network in trials.networks.items():
        require_close(expected[name].state_dict(), network.state_dict(), 1e-5, 1e-3, name)
    require_same_ends("abc", tmp_path / "alone", tmp_path / "together")
    taken = {name: trials.group.take_steps_of(name) for name in "abc"}
    assert taken["a"] == 3  # all but the first
    assert taken["b"] == 4
    assert taken["c"] == 3
    assert trials.group.fused_steps == 4
    assert trials.group.take_steps_of("a") == 0  # which was forgotten: thousands may come


def test_one_that_diverges_or_raises_is_its_own_affair(trials: Trials, members: Members, tmp_path: Path):
    alone({"c": members["c"]}, trials.data, tmp_path / "alone")
    members["a"] = replace(members["a"], optim=replace(members["a"].optim, lr=1e30))

    def failing(step: int) -> None:
        if step == 3:
            raise OSError("a disk of b's")

    trials.join("c", lambda step: (trials.join("a"), trials.join("b", failing)) if step == 1 else None)
    trials.end()
    assert isinstance(trials.errors["a"], NonFiniteLoss)
    assert re.search("a disk of b's", str(trials.errors["b"]))
    assert trials.networks.keys() == {"c"}
    require_same_ends("c", tmp_path / "alone", tmp_path / "together")
    assert trials.group.fused_steps == 2  # a's first, and one without it: beside values that are not finite nobody's is


def test_one_that_is_told_to_leave_goes_on_later(trials: Trials, tmp_path: Path):
    """The others lose nothing, and it goes on from its checkpoint beside whoever is there."""
    alone(trials.members, trials.data, tmp_path / "alone")
    dismissed = trials.dismissed["b"] = threading.Event()

    def hook(step: int) -> None:
        if step == 1:
            trials.join("b", lambda step: dismissed.set() if step == 2 else None)

    trials.join("c", hook)
    trials.end()
    assert isinstance(trials.errors.pop("b"), Dismissed)
    reached = saved_state(tmp_path / "together" / "b")
    assert reached
    assert 0 < reached["step"] < 4
    dismissed.clear()
    trials.join("a", lambda step: trials.join("b") if step == 1 else None)
    trials.end()
    assert not trials.errors
    require_same_ends("abc", tmp_path / "alone", tmp_path / "together")


def test_others_go_on_while_one_waits_for_somebody_else(trials: Trials, tmp_path: Path):
    """As for a scheduler's answer, which here comes when they have ended."""
    alone(trials.members, trials.data, tmp_path / "alone")

    def hook(step: int) -> None:
        if step == 1:
            trials.join("a", lambda step: trials.join("b") if step == 1 else None)
        if step == 2:
            with trials.places["c"].away():
                while not trials.networks.keys() >= {"a", "b"}:
                    time.sleep(0.001)

    trials.join("c", hook)
    trials.end()
    assert not trials.errors
    require_same_ends("abc", tmp_path / "alone", tmp_path / "together")
    assert trials.group.fused_steps >= 3  # a's first with c, and what a and b make without it


def test_one_that_is_away_can_be_told_to_leave(trials: Trials):
    def away(step: int) -> None:
        if step == 2:
            with trials.places["a"].away():
                trials.dismissed["a"].set()

    trials.join("a", away)
    trials.end()
    assert isinstance(trials.errors["a"], Dismissed)


def test_of_another_shape_it_is_trained_beside_them_to_the_last_bit(trials: Trials, members: Members, tmp_path: Path):
    members["wide"] = replace(members["a"], model=GoogLeNetConfig(width=0.2))
    expected = alone(members, trials.data, tmp_path / "alone")
    trials.join("a", lambda step: (trials.join("wide", kind="wide"), trials.join("b")) if step == 1 else None)
    trials.end()
    assert not trials.errors
    require_same_ends("ab", tmp_path / "alone", tmp_path / "together")
    require_close(expected["wide"].state_dict(), trials.networks["wide"].state_dict(), 0, 0)
    assert trials.group.take_steps_of("wide") == 0
    assert trials.group.fused_steps == 3


def test_work_that_is_long_lets_the_only_other_one_make_its_steps(trials: Trials):
    """As the evaluation of a trial that is trained: each piece of it waits for at most a step."""
    pieces = []

    def evaluate() -> None:
        place = Place(trials.group, "late", Progress())
        place.leave()
        place.wait_for_others()
        for _ in range(4):
            pieces.append(len(steps))
            place.hand_on()

    def begin(step: int) -> None:
        steps.append(step)
        if step == 1:
            thread = threading.Thread(target=lambda: trials.group.join("late", evaluate, 1, threading.Event()))
            thread.start()
            trials.threads.append(thread)
            while not trials.group._lock.waiting:
                time.sleep(0.001)

    steps: list[int] = []
    trials.join("a", begin)
    trials.end()
    assert steps == [1, 2, 3, 4]
    assert pieces == [1, 2, 3, 4]
