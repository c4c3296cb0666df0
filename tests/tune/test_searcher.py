"""Trials as Ray Tune asks for them: how many at a time, and that they are the same ones however many that is."""

import itertools
import queue
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ray.tune.search import Searcher

from platform.config.jobs import SweepConfig
from platform.config.sections import Config
from platform.experiment.folder import ExperimentFolder
from platform.sweep.search import search_of
from platform.sweep.space import parameters
from platform.sweep.trial_queue import TrialQueue
from platform.sweep.trial_store import STOPPED, TrialStore
from platform.tune.searcher import QueueSearcher
from platform.tune.trial import NAME

SPACE: dict[str, Any] = {"optim.lr": [0.01, 0.02, 0.03, 0.04], "training.batch_size": [16, 32]}
RANGES: dict[str, Any] = {"optim.lr": {"low": 1e-3, "high": 1e-1, "log": True}}


class Asked:
    """A searcher as Tune has it: asked for a trial until it gives none, and told of ends."""

    def __init__(self, folder: Path, sweep: SweepConfig, at_most: int) -> None:
        folder.mkdir()
        self.store = TrialStore()
        self.store.write(folder)
        overrides = lambda point, seed: [f"{key}={value}" for key, value in point.items()]  # noqa: E731
        search = search_of(sweep, parameters(sweep.space))
        self.queue = TrialQueue(sweep, self.store, search, folder, overrides)
        config = Config(sweep=sweep)
        self.searcher = QueueSearcher(
            self.queue, lambda point, seed: config, ExperimentFolder(folder), config, queue.Queue(), at_most
        )
        self.under_way: dict[str, str] = {}  # Tune's id -> the trial's name
        self._ids = itertools.count()
        self.is_finished = False

    def ask(self) -> int:
        """How many are under way when it gives no more."""
        while True:
            number = f"{next(self._ids)}"
            found = self.searcher.suggest(number)
            if not isinstance(found, dict):
                self.is_finished = found == Searcher.FINISHED
                return len(self.under_way)
            self.under_way[number] = found[NAME]

    def end_oldest(self) -> None:
        number = next(iter(self.under_way))
        del self.under_way[number]
        self.searcher.on_trial_complete(number)

    def tried(self) -> list[tuple[str, dict[str, Any], int, list[str]]]:
        """What each trial is, in the order in which they began."""
        return [(trial.name, trial.values, trial.seed, trial.overrides) for trial in self.store.trials]


def run(asked: Asked, at_most: Callable[[int], int]) -> list[int]:
    """To its end; how many were under way each time. `at_most` is called with how many have ended."""
    seen = []
    for ended in itertools.count():
        asked.searcher.at_most = at_most(ended)
        seen.append(asked.ask())
        if not asked.under_way:
            assert asked.is_finished
            return seen
        asked.end_oldest()
    return []


@pytest.mark.parametrize(
    "sweep",
    [
        SweepConfig(space=SPACE, seeds=2, max_trials=99),
        SweepConfig(space=RANGES, search="random", points=9, seeds=2, max_trials=99),
    ],
    ids=["grid", "random"],
)
def test_a_grid_and_random_points_are_the_same_trials_however_many_run_side_by_side(tmp_path: Path, sweep: SweepConfig):
    one, grows = Asked(tmp_path / "one", sweep, 1), Asked(tmp_path / "grows", sweep, 1)
    assert max(run(one, lambda ended: 1)) == 1
    seen = run(grows, lambda ended: 1 if ended < 3 else 5)
    assert seen[:3] == [1, 1, 1]
    assert set(seen[3:8]) == {5}
    assert max(seen) == 5
    assert grows.tried() == one.tried()
    assert len({name for name, *_ in one.tried()}) == len(one.tried()) >= 16
    assert {trial.state for trial in grows.store.trials} == {STOPPED}
    assert grows.queue.ended == len(grows.tried())


def test_trials_that_tune_has_paused_have_others_begin(tmp_path: Path):
    """Or a bracket of Hyperband's would never be whole. Those that go on are Tune's affair."""
    asked = Asked(tmp_path / "pauses", SweepConfig(space=SPACE, scheduler="hyperband"), 2)
    paused = 0
    asked.searcher.paused = lambda: paused
    assert asked.ask() == 2
    paused = 2
    assert asked.ask() == 4
    paused = 1
    assert asked.ask() == 4
    asked.searcher.at_most = 4
    assert asked.ask() == 5


def test_nothing_begins_once_the_launch_is_interrupted(tmp_path: Path):
    asked = Asked(tmp_path / "stops", SweepConfig(space=SPACE), 2)
    assert asked.ask() == 2
    asked.searcher.interrupted, asked.searcher.at_most = True, 8
    assert asked.ask() == 2
    assert not asked.is_finished
    asked.end_oldest()
    assert asked.queue.ended == 0  # it has not ended by itself
