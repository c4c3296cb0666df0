"""What each trial of a sweep costs, however many there are: instructions counted among few and among many."""

from collections.abc import Callable
from pathlib import Path

import pytest

from jobs import promote
from platform.config.jobs import SweepConfig
from platform.experiment.folder import ExperimentFolder
from platform.lanes.attempts import Attempts
from platform.lanes.mailbox import Beat
from platform.sweep.report import importance, plots
from platform.sweep.report.artifacts import write
from platform.sweep.report.ranking import rank
from platform.sweep.report.table import POINTS_LISTED, POINTS_SHOWN, lines
from platform.sweep.search import Listed
from platform.sweep.trial_queue import TrialQueue
from platform.sweep.trial_store import FINISHED, STOPPED, Trial, TrialStore, name_of
from tests.counting import operations_of
from tests.sweep.stores import store_of
from tests.sweep.test_trial_queue import write_curve

FEW, MANY = 60, 240
SLACK = 1.1  # longer numbers, the depth of a sort


def queue_of(folder: Path, known: int, *, seeds: int) -> tuple[TrialQueue, TrialStore]:
    """Of a sweep whose first `known` points have ended in this launch."""
    sweep = SweepConfig(search="random", scheduler="asha", points=known + 2, seeds=seeds)
    store = TrialStore()
    store.write(folder)
    points = Listed(iter([{"optim.lr": number} for number in range(known + (2 if seeds == 1 else 0))]))
    queue = TrialQueue(sweep, store, points, folder, lambda point, seed: [f"optim.lr={point['optim.lr']}"])
    for _ in range(known):
        a_trial(queue, folder)
    return queue, store


def a_trial(queue: TrialQueue, folder: Path) -> None:
    """From its beginning to its end by the scheduler, with the place that it is told."""
    trial = queue.next()
    assert isinstance(trial, Trial)
    write_curve(folder, trial.name, 0.1 + trial.point % 7 / 10)
    newest = queue.curve(trial.name)[-1]
    assert queue.place_at(newest.epoch, newest.top1)[1] == trial.point + 1 or trial.seed
    queue.end(trial, FINISHED if trial.point % 3 else STOPPED, "by asha")


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_trial_costs_the_same_among_few_and_many(tmp_path: Path, seeds: int):
    costs = []
    for known in (FEW, MANY):
        folder = tmp_path / str(known)
        folder.mkdir()
        queue, _ = queue_of(folder, known, seeds=seeds)
        a_trial(queue, folder)  # the first with another seed finds all that will get one
        costs.append(operations_of(lambda queue=queue, folder=folder: a_trial(queue, folder)))
    assert costs[1] < SLACK * costs[0]


def test_an_attempt_costs_the_same_among_few_and_many(tmp_path: Path):
    costs = []
    for known in (FEW, MANY):
        attempts = Attempts(ExperimentFolder(tmp_path / str(known)), [])

        def run(number: int, attempts: Attempts = attempts) -> None:
            name = name_of(number, 0)
            attempts.add(name, 1.0)
            attempts.beat(beat_of(name, number))
            attempts.end(name, "finished", 3.0)

        for number in range(known):
            run(number)
        costs.append(operations_of(lambda run=run, known=known: run(known)))
        assert attempts.of(name_of(known, 0))[-1].reason == "finished"
    assert costs[1] < SLACK * costs[0]


def beat_of(member: str, lane: int) -> Beat:
    return Beat(member, lane, 0, 1, "a", "a", 1, 1.5, 2.0, -1, 5, 1.6, "training", 0.0)


def growth(action: Callable[[int], Callable[[], object]]) -> float:
    """Cost of four times as much, over four times the cost."""
    few, many = (operations_of(action(count)) for count in (FEW, MANY))
    return many / few / (MANY / FEW)


def sweep_of(count: int) -> tuple[TrialStore, dict[str, list]]:
    return store_of(*[[0.1 + number % 97 / 200] for number in range(count)])


def test_ranking_costs_in_proportion_to_the_points():
    def ranked(count: int) -> Callable[[], object]:
        store, curves = sweep_of(count)
        return lambda: rank(store, curves, ["top1", "images_per_s"], 360)

    rank(*sweep_of(3), ["top1"], 360)
    assert growth(ranked) < SLACK


def test_promoting_costs_in_proportion_to_the_points(tmp_path: Path):
    def ranked(count: int) -> Callable[[], object]:
        store, _ = sweep_of(count)
        folder = ExperimentFolder(tmp_path / str(count))
        for trial in store.trials:
            write_curve(folder.path, trial.name, 0.1 + trial.point % 97 / 200)
        return lambda: promote._ranked(folder, store)

    ranked(3)()
    assert growth(ranked) < SLACK


def test_a_report_of_many_points_shows_some_and_counts_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    count = POINTS_LISTED + 50
    store, curves = sweep_of(count)
    ranking = rank(store, curves, ["top1"], 360)
    figures = []
    monkeypatch.setattr(plots, "_save", lambda figure, path: (figures.append(figure), path.write_bytes(b"png")))
    monkeypatch.setattr(importance, "MOST_OBSERVED", 40)
    write(ranking, store, curves, SweepConfig(space={"optim.lr": [0.01, 0.1]}), "s", tmp_path)
    text = {name: (tmp_path / name).read_text() for name in ("ranking.csv", "ranking.md", "report.html")}
    note = f"The first {POINTS_LISTED:,} of {count:,} points; ranking.csv has all."
    assert note in text["ranking.md"]
    assert note in text["report.html"]
    assert text["report.html"].count("<tr") == 1 + POINTS_LISTED
    assert len([line for line in text["ranking.md"].splitlines() if line.startswith("| ")]) == 2 + POINTS_LISTED
    assert len(text["ranking.csv"].splitlines()) == 1 + count
    assert "Computed on 36 of 250 finished trials." in text["report.html"]
    shown = lines(ranking)
    assert f"The first {POINTS_SHOWN} of {count} points; ranking.csv has all." in shown
    assert len([line for line in shown if " p" in line and line.endswith("finished")]) == POINTS_SHOWN
    drawn = next(figure for figure in figures if len(figure.axes) == 2).axes[0].lines
    assert len(drawn) <= plots.MAX_OTHERS + 20


def test_a_front_of_many_points_is_drawn_by_few_marks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    store, curves = sweep_of(plots.MAX_OTHERS + 50)
    figures = []
    monkeypatch.setattr(plots, "_save", lambda figure, path: figures.append(figure))
    plots.draw_front(rank(store, curves, ["top1", "images_per_s"], 360), tmp_path / "front.png")
    assert len(figures[0].axes[0].containers) <= plots.MAX_OTHERS + 3
    assert max(len(line.get_xdata()) for line in figures[0].axes[0].lines) == 50
