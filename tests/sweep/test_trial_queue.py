"""Whole sweeps with trials that end in any order, launchers that are killed at any moment, and no training at all."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from platform.config.jobs import SweepConfig
from platform.experiment.folder import ExperimentFolder
from platform.sweep.search import Listed
from platform.sweep.trial_queue import REPLAYED, NoTrial, TrialQueue
from platform.sweep.trial_store import (
    DIVERGED,
    FAILED,
    FINISHED,
    OVER,
    STOPPED,
    WAITING,
    Point,
    Trial,
    TrialStore,
    name_of,
)
from platform.training import learning_curve
from platform.training.learning_curve import EvaluationPoint
from tests.counting import Cost, cost_of

SETTINGS = settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example]
)


class Told(Listed):
    """Remembers what it was told, and insists on what a search may expect."""

    def __init__(self, points: int) -> None:
        super().__init__(iter([{"optim.lr": number} for number in range(points)]))
        self.known: list[int] = []
        self.ends: dict[int, tuple[str, int]] = {}

    def next(self, number: int) -> Point:
        assert number == len(self.known)
        self.known.append(number)
        return super().next(number)

    def again(self, number: int, point: Point) -> None:
        assert number == len(self.known)
        assert point == {"optim.lr": number}
        self.known.append(number)

    def tell(self, number: int, state: str, curve: list[EvaluationPoint]) -> None:
        assert number in self.known
        assert number not in self.ends
        self.ends[number] = (state, len(curve))


@dataclass
class Launch:
    """One launch, as jobs/sweep.py makes it from what is on disk."""

    sweep: SweepConfig
    folder: Path

    def __post_init__(self) -> None:
        self.search = Told(self.sweep.points or 0)
        self.store = TrialStore.read(self.folder)
        self.store.write(self.folder)
        self.before = [replace(trial) for trial in self.store.trials]
        overrides = lambda point, seed: [f"optim.lr={point['optim.lr']}", f"seed={seed}"]  # noqa: E731
        self.queue = TrialQueue(self.sweep, self.store, self.search, self.folder, overrides)
        self.running: list[Trial] = []
        self.handed_out: list[Trial] = []
        self.replayed: list[str] = []

    def take(self) -> Trial | NoTrial:
        expected_over = self.queue.is_over
        found = self.queue.next()
        if isinstance(found, Trial):
            assert not expected_over
            assert found.name not in [trial.name for trial in self.running]
            assert found in TrialStore.read(self.folder).trials or found.state in OVER  # on disk before it is trained
            self.running.append(found)
            (self.replayed if found.state in OVER else self.handed_out).append(
                found.name if found.state in OVER else found  # pyright: ignore[reportArgumentType]
            )
        else:
            assert expected_over == (not self.running) or self.running
            if not self.running:
                assert found is NoTrial.LEFT
                assert expected_over
            if found is NoTrial.YET:
                assert any(trial.seed == 0 for trial in self.running)
        return found

    def names(self, count: int) -> list[str]:
        """Of as many trials, if there are so many."""
        return [trial.name for _ in range(count) if isinstance(trial := self.take(), Trial)]

    def end(self, trial: Trial, state: str, score: float) -> None:
        self.running.remove(trial)
        if trial.state in OVER:
            before = replace(trial)
            self.queue.end(trial, STOPPED, "the replay was cut off")
            assert trial == before
            return
        if state in (FINISHED, STOPPED):
            write_curve(self.folder, trial.name, score)
        self.queue.end(trial, state, f"it is {state}")
        assert TrialStore.read(self.folder).trial(trial.name).state == state

    def run(self, chance: random.Random, ends: list[str], lanes: int, steps: int | None = None) -> None:
        """Until it is over, or killed after so many steps."""
        found: Trial | NoTrial | None = None
        while steps is None or steps > 0:
            steps = None if steps is None else steps - 1
            if len(self.running) < lanes and (found is None or chance.random() < 0.6):
                found = self.take()
                if isinstance(found, Trial):
                    found = None
                elif not self.running:
                    return
            elif self.running:
                self.end(chance.choice(self.running), chance.choice(ends), chance.random())
                found = None
            else:
                found = None


def write_curve(folder: Path, name: str, score: float) -> None:
    place = ExperimentFolder(folder).member(name).path
    place.mkdir(parents=True, exist_ok=True)
    learning_curve.append(place, EvaluationPoint(1.0, 10, score / 2, 1.0, 1.0, 1.0))
    learning_curve.append(place, EvaluationPoint(2.0, 20, score, 1.0, 1.0, 1.0, last=True))


def sweep_of(scheduler: str = "none", **settings: int | None) -> SweepConfig:
    return SweepConfig(search="random", scheduler=scheduler, **settings)  # pyright: ignore[reportArgumentType]


@pytest.fixture
def folder() -> Iterator[Path]:
    with TemporaryDirectory() as place:
        yield Path(place)


SWEEPS = st.builds(
    sweep_of,
    st.sampled_from(["none", "asha", "hyperband", "median"]),
    points=st.integers(1, 6),
    seeds=st.integers(1, 3),
    finalists=st.one_of(st.none(), st.integers(1, 4)),
)
ENDS = st.sampled_from([[FINISHED], [FINISHED, FINISHED, STOPPED], [FINISHED, STOPPED, DIVERGED, FAILED], [DIVERGED]])


def expected_names(sweep: SweepConfig, folder: Path) -> set[str]:
    """What should have been trained, from nothing but the ends of first seeds."""
    store = TrialStore.read(folder)
    firsts = [trial for trial in store.trials if trial.seed == 0]
    assert [trial.point for trial in firsts] == list(range(sweep.points or 0))
    chosen = firsts
    if sweep.scheduler != "none" or sweep.finalists:
        finished = [trial for trial in firsts if trial.state == FINISHED]
        score = {
            trial.name: learning_curve.read(ExperimentFolder(folder).member(trial.name).path)[-1].top1
            for trial in finished
        }
        chosen = sorted(finished, key=lambda trial: -score[trial.name])[: sweep.finalists]
    others = {f"p{trial.point:03d}-s{seed}" for trial in chosen for seed in range(1, sweep.seeds)}
    return {trial.name for trial in firsts} | others


@pytest.mark.slow
@given(SWEEPS, ENDS, st.integers(1, 4), st.randoms(use_true_random=False))
@SETTINGS
def test_a_sweep_trains_what_it_should_each_once(
    sweep: SweepConfig, ends: list[str], lanes: int, chance: random.Random
):
    with TemporaryDirectory() as place:
        launch = Launch(sweep, Path(place))
        launch.run(chance, ends, lanes)
        names = [trial.name for trial in launch.handed_out]
        assert len(names) == len(set(names))
        assert set(names) == expected_names(sweep, launch.folder)
        assert launch.queue.is_over
        assert launch.replayed == []
        assert set(launch.search.ends) == set(range(sweep.points or 0))
        for trial in launch.handed_out:
            assert trial.overrides == [f"optim.lr={trial.point}", f"seed={trial.seed}"]
            state, evaluations = launch.search.ends[trial.point]
            assert trial.seed or (state, evaluations) == (trial.state, 2 if state in (FINISHED, STOPPED) else 0)


@pytest.mark.slow
@given(SWEEPS, ENDS, st.integers(1, 4), st.randoms(use_true_random=False), st.lists(st.integers(0, 12), max_size=4))
@SETTINGS
def test_killed_at_any_moment_nothing_is_lost_or_repeated(
    sweep: SweepConfig, ends: list[str], lanes: int, chance: random.Random, kills: list[int]
):
    with TemporaryDirectory() as place:
        over: set[str] = set()
        launch = Launch(sweep, Path(place))
        for steps in [*kills, None, None]:
            launch = Launch(sweep, Path(place))
            unfinished = [trial.name for trial in launch.before if trial.state not in OVER]
            assert {trial.name for trial in launch.before if trial.state in OVER} == over
            assert all(trial.state in (*OVER, WAITING) for trial in launch.store.trials)
            was_over = launch.queue.is_over
            launch.run(chance, ends, lanes, steps)
            names = [trial.name for trial in launch.handed_out]
            assert len(names) == len(set(names))
            assert not over & set(names)
            assert not was_over or not names
            assert names[: len(unfinished)] == unfinished[: len(names)]  # these first
            over = {trial.name for trial in TrialStore.read(launch.folder).trials if trial.state in OVER}
        assert expected_names(sweep, launch.folder) <= {trial.name for trial in launch.store.trials}
        if FAILED not in ends:
            assert launch.handed_out == []  # the second whole launch found nothing to do
            assert launch.before == launch.store.trials
            assert launch.replayed == []


@pytest.mark.parametrize("scheduler", ["none", "asha", "hyperband", "median", "pbt"])
def test_schedulers_that_compare_hear_again_what_is_over(folder: Path, scheduler: str):
    sweep = sweep_of(scheduler, points=4)
    first = Launch(sweep, folder)
    trials = [first.take() for _ in range(4)]
    for trial, state in zip(trials, (FINISHED, STOPPED, DIVERGED), strict=False):
        assert isinstance(trial, Trial)
        first.end(trial, state, 0.5)
    second = Launch(sweep, folder)
    taken = second.names(5)
    assert taken == (["p000-s0", "p001-s0", "p002-s0"] if scheduler in REPLAYED else []) + ["p003-s0"]
    for trial in list(second.running):
        second.end(trial, FINISHED, 0.1)
    assert [trial.state for trial in second.store.trials] == [FINISHED, STOPPED, DIVERGED, FINISHED]
    assert second.search.ends[1] == (STOPPED, 2)
    assert Launch(sweep, folder).take() is NoTrial.LEFT  # nothing is replayed for nothing


def test_only_first_seeds_are_replayed(folder: Path):
    sweep = sweep_of("asha", points=2, seeds=2)
    first = Launch(sweep, folder)
    for _ in range(3):
        trial = first.take()
        if trial is NoTrial.YET:
            break
    for trial in list(first.running):
        first.end(trial, FINISHED, 0.5)
    other = first.take()
    assert isinstance(other, Trial)
    assert other.seed == 1
    first.end(other, FINISHED, 0.5)
    second = Launch(sweep, folder)
    assert second.names(3) == ["p000-s0", "p001-s0"]  # the other seed waits for the scheduler to have heard all
    for trial in list(second.running):
        second.end(trial, FINISHED, 0.5)
    assert second.names(3) == ["p001-s1"]


def test_failed_trials_are_tried_again_by_a_new_launch_only(folder: Path):
    sweep = sweep_of(points=3)
    first = Launch(sweep, folder)
    for state in (FAILED, STOPPED, DIVERGED):
        trial = first.take()
        assert isinstance(trial, Trial)
        first.end(trial, state, 0.5)
    assert first.queue.is_over
    assert first.take() is NoTrial.LEFT
    assert TrialStore.read(folder).trials[0].reason == "it is failed"
    second = Launch(sweep, folder)
    assert not second.queue.is_over
    trial = second.take()
    assert isinstance(trial, Trial)
    assert (trial.name, trial.state, trial.reason) == ("p000-s0", WAITING, "")
    assert second.take() is NoTrial.LEFT
    second.end(trial, FINISHED, 0.5)
    assert second.search.ends == {0: (FINISHED, 2), 1: (STOPPED, 2), 2: (DIVERGED, 0)}


@pytest.mark.slow
@given(st.lists(SWEEPS, min_size=2, max_size=3), st.randoms(use_true_random=False))
@SETTINGS
def test_a_sweep_that_grew_goes_on(sweeps: list[SweepConfig], chance: random.Random):
    """Points, seeds and finalists may become more; a scheduler stays."""
    grown = [replace(sweeps[0], points=sum(sweep.points or 0 for sweep in sweeps[:number]),
                     seeds=max(sweep.seeds for sweep in sweeps[:number]),
                     finalists=sweeps[0].finalists and max(sweep.finalists or 1 for sweep in sweeps[:number]))
             for number in range(1, len(sweeps) + 1)]  # fmt: skip
    with TemporaryDirectory() as place:
        trained: list[str] = []
        for sweep in grown:
            launch = Launch(sweep, Path(place))
            launch.run(chance, [FINISHED, STOPPED], 2)
            trained += [trial.name for trial in launch.handed_out]
            assert expected_names(sweep, launch.folder) <= set(trained)
        assert len(trained) == len(set(trained))


def test_a_sweep_that_shrank_is_over(folder: Path):
    Launch(sweep_of(points=4, seeds=2), folder).run(random.Random(0), [FINISHED], 2)
    less = Launch(sweep_of(points=2), folder)
    assert less.queue.is_over
    assert less.take() is NoTrial.LEFT


def test_the_best_get_the_other_seeds_when_every_first_seed_has_ended(folder: Path):
    launch = Launch(sweep_of(points=3, seeds=3, finalists=1), folder)
    trials = [launch.take() for _ in range(3)]
    for trial, score in zip(trials, (0.2, 0.9), strict=False):
        assert launch.take() is NoTrial.YET
        assert isinstance(trial, Trial)
        launch.end(trial, FINISHED, score)
    assert launch.take() is NoTrial.YET
    assert isinstance(trials[2], Trial)
    launch.end(trials[2], FINISHED, 0.5)
    assert launch.names(9) == ["p001-s1", "p001-s2"]
    assert launch.take() is NoTrial.LEFT  # though two are running
    assert not launch.queue.is_over


def test_without_finalists_other_seeds_wait_for_nobody(folder: Path):
    launch = Launch(sweep_of(points=2, seeds=2), folder)
    names = launch.names(5)
    assert names == ["p000-s0", "p001-s0", "p000-s1", "p001-s1"]


def test_a_curve_that_was_lost_is_no_finalists(folder: Path):
    launch = Launch(sweep_of(points=2, seeds=2, finalists=2), folder)
    for trial in [launch.take(), launch.take()]:
        assert isinstance(trial, Trial)
        launch.end(trial, FINISHED, 0.5)
    (ExperimentFolder(folder).member("p000-s0").path / learning_curve.FILE).write_text("")
    assert Launch(launch.sweep, folder).names(3) == ["p001-s1"]


def cost_of_a_trial(folder: Path, known: int, sweep: SweepConfig) -> tuple[Cost, Cost]:
    """(of its beginning, of its end with a place among the others) in a sweep where so many have ended before."""
    store = TrialStore(trials=[Trial(name_of(n, 0), n, {"optim.lr": n}, 0, [], FINISHED) for n in range(known)])
    store.write(folder)
    for trial in store.trials:
        write_curve(folder, trial.name, 0.5)
    launch = Launch(sweep, folder)
    while isinstance(trial := launch.queue.next(), Trial) and trial.state in OVER:  # what the scheduler hears again
        launch.queue.end(trial, trial.state)
    begin = cost_of(launch.queue.next, folder)
    trial = launch.store.trials[-1]
    assert (trial.state, trial.name) == (WAITING, name_of(known + 1, 0) if sweep.seeds == 1 else "p000-s2")
    write_curve(folder, trial.name, 0.4)

    def stop() -> None:
        evaluations = launch.queue.curve(trial.name)
        assert launch.queue.place_at(evaluations[-1].epoch, evaluations[-1].top1) == (known + 1, known + 1)
        launch.queue.end(trial, STOPPED, "by asha")

    end = cost_of(stop, folder)
    assert [each.state for each in TrialStore.read(folder).trials[-2:]] == [WAITING, STOPPED]
    return begin, end


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [1, 3])  # with three, those of the best: finalists are chosen at each beginning
def test_a_trial_costs_no_more_among_a_thousand_than_among_ten(folder: Path, seeds: int):
    costs = []
    for known in (10, 1000):
        place = folder / str(known)
        place.mkdir()
        sweep = sweep_of("asha", points=known + (2 if seeds == 1 else 0), seeds=seeds)
        costs.append(cost_of_a_trial(place, known, sweep))
    (begin, end), (begin_late, end_late) = costs
    assert (begin_late.opens, end_late.opens) == (begin.opens, end.opens)
    assert begin.opens == 1
    assert end.opens <= 5  # the curves of the two that run, twice, and the line
    assert begin_late.bytes_written <= begin.bytes_written + 20  # longer numbers
    assert end_late.bytes_written <= end.bytes_written + 20
