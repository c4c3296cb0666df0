"""When the training state is saved: in time, when asked, for its score, and never a bad one."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from platform.config.optim import SGDConfig
from platform.config.training import CheckpointConfig, TrainingConfig
from platform.training.averaging import WeightAverage
from platform.training.checkpoints import Checkpoints
from platform.training.optim import sgd
from platform.training.progress import COMPUTING, WAITING, Progress
from platform.training.saver import Saver
from platform.training.state import TrainingState
from platform.training.worker import Worker

NEVER_S = 1e6


class FakeMeter:
    """Has seen a bad step, or not."""

    def __init__(self) -> None:
        self.bad: int | None = None

    def first_bad_step(self) -> int | None:
        return self.bad


class Training:
    """A saver, and what it needs."""

    def __init__(self, folder: Path, *, rank: int = 0, **settings: Any) -> None:
        cfg = CheckpointConfig(every_s=NEVER_S, **settings)
        module = nn.Linear(2, 2)
        average = WeightAverage(module, TrainingConfig(), 10, 100)
        self.state = state = TrainingState(module, sgd(module, SGDConfig()), average)
        self.folder, self.meter, self.progress = folder, FakeMeter(), Progress()
        self.checkpoints = Checkpoints(folder, cfg)
        self.saver = Saver(cfg, Worker(rank), self.checkpoints, state, self.progress)
        self.progress.restored(self.saver.restore(), str)

    def step(
        self, step: int, score: float | None = None, *, log_step: bool = True, last: bool = False, written: bool = True
    ) -> None:
        self.progress.at(step, COMPUTING)
        is_best = None if score is None else self.state.scored(step, score, min_delta=0.0)
        self.saver.save_if_due(step, self.meter, is_best, log_step=log_step, last=last)  # pyright: ignore[reportArgumentType]
        self.progress.at(step, WAITING)
        if written:
            self.checkpoints._finish_write()

    @property
    def saved(self) -> list[int]:
        return sorted(int(path.name.split("-")[1]) for path in self.folder.glob("*.pt"))


@pytest.fixture
def training(tmp_path: Path) -> Iterator[Callable[..., Training]]:
    made: list[Training] = []

    def make(**settings: Any) -> Training:
        made.append(Training(tmp_path / "checkpoints", **settings))
        return made[-1]

    yield make
    for each in made:
        each.checkpoints.close()


def test_every_so_many_steps_and_the_last(training: Callable[..., Training]) -> None:
    run = training(every_steps=3, keep=10)
    for step in range(1, 11):
        run.step(step, last=step == 10)
    assert run.saved == [3, 6, 9, 10]


def test_checkpoints_are_saved_at_log_steps_unless_one_was_requested_long_ago(
    training: Callable[..., Training], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The means of a window that a restart cuts would be others."""
    run = training(every_steps=1, keep=10)
    for step in range(1, 7):
        run.step(step, log_step=step % 3 == 0)
    assert run.saved == [3, 6]
    run.progress.ask_for_checkpoint()
    run.step(7, log_step=False)
    monkeypatch.setattr("platform.training.saver.LONGEST_WAIT_S", 0.0)
    run.step(8, log_step=False)
    assert run.saved == [3, 6, 8]


def test_only_rank_0_saves(training: Callable[..., Training]) -> None:
    run = training(rank=1, every_steps=1)
    run.step(1, 0.5, last=True)
    assert run.saved == []


def test_one_that_was_due_while_another_was_written_comes_with_the_next_step(
    training: Callable[..., Training], monkeypatch: pytest.MonkeyPatch
) -> None:
    release = _slow_writer(monkeypatch)
    run = training(every_steps=2, keep=10)
    for step in (1, 2, 3, 4):
        run.step(step, written=False)
    release.set()
    run.checkpoints._finish_write()
    run.step(5)
    assert run.saved == [2, 5]


def test_a_question_is_answered_when_the_checkpoint_is_written(
    training: Callable[..., Training], monkeypatch: pytest.MonkeyPatch
) -> None:
    release = _slow_writer(monkeypatch)
    run = training()
    run.step(1)
    ticket = run.progress.ask_for_checkpoint()
    assert run.progress.checkpoint_asked_for_s() > 0
    run.step(2, written=False)
    assert run.progress.checkpoint_asked_for_s() == 0
    assert not run.progress.is_answered(ticket)  # taken, not safe yet
    later = run.progress.ask_for_checkpoint()
    release.set()
    run.checkpoints._finish_write()
    assert run.progress.is_answered(ticket)
    assert not run.progress.is_answered(later)  # the one before it is older than the question
    run.step(3)
    assert run.progress.is_answered(later)
    assert run.saved == [2, 3]
    run.step(4)
    assert run.saved == [2, 3]  # asked once, saved once


def test_a_bad_state_is_never_saved(training: Callable[..., Training]) -> None:
    run = training(every_steps=1)
    run.step(1)
    run.meter.bad = 1
    ticket = run.progress.ask_for_checkpoint()
    run.step(2, score=0.9)
    run.step(3, last=True)
    assert run.saved == [1]
    assert not run.progress.is_answered(ticket)


def test_the_best_is_kept_beside_the_newest(training: Callable[..., Training]) -> None:
    run = training(every_steps=1, keep=1)
    for step, score in enumerate([0.5, 0.9, None, 0.9, 0.3], start=1):
        run.step(step, score)
    assert run.saved == [2, 5]
    again = training(every_steps=1, keep=1)  # remembers how good it was
    again.step(6, 0.8)
    assert again.saved == [2, 6]
    again.step(7, 0.95)
    again.step(8)
    assert again.saved == [7, 8]


def test_the_best_is_saved_though_another_is_being_written(
    training: Callable[..., Training], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the step that it is remembered by would have no checkpoint."""
    release = _slow_writer(monkeypatch)
    run = training(every_steps=1, keep=1)
    threading.Timer(0.3, release.set).start()
    run.step(1, written=False)
    run.step(2, 0.9, written=False)
    run.step(3)
    run.step(4)
    assert run.saved == [2, 4]


def test_without_keeping_the_best_a_score_saves_nothing(training: Callable[..., Training]) -> None:
    run = training(keep=1, keep_best=False)
    run.step(1, 0.9)
    assert run.saved == []


def _slow_writer(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Nothing is written before this is set."""
    release, write = threading.Event(), Checkpoints._write

    def slowly(*arguments: Any) -> None:
        assert release.wait(10)
        write(*arguments)

    monkeypatch.setattr(Checkpoints, "_write", slowly)
    return release


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
