"""A sweep of many trials: what each costs the launcher, what taking the sweep up again costs, and its report.

Nothing is trained: learning curves are written as trainings write them, and the sweep's own queue, store, ranking and
report are driven by them. Proposals are random ones; what Ray Tune and Optuna do for each trial is theirs.
"""

import time
from pathlib import Path

from platform.bench.figures import Figures
from platform.bench.growth import add_growth
from platform.config.jobs import SweepConfig
from platform.config.scale import ScaleConfig
from platform.experiment.folder import ExperimentFolder
from platform.sweep.report import artifacts
from platform.sweep.report.ranking import rank
from platform.sweep.search import Listed
from platform.sweep.trial_queue import TrialQueue
from platform.sweep.trial_store import CHANGES, FINISHED, STOPPED, Trial, TrialStore, name_of
from platform.training import learning_curve
from platform.training.learning_curve import EvaluationPoint

EPOCHS = 10  # points of a learning curve
MEASURED = 40  # trials that are begun and ended among the others


def measure(sizes: ScaleConfig, folder: Path, figures: Figures) -> None:
    """Measure at `bench.scale.trials`; `scale.trials.*` into `figures`."""
    resumed_s, trial_ms, trial_bytes, report_s = {}, {}, {}, {}
    for trials in sizes.trials:
        place = folder / str(trials)
        place.mkdir()
        _ended(place, trials)
        began = time.process_time()
        queue, store = _queue(place, trials)
        resumed_s[trials] = time.process_time() - began
        began, before = time.process_time(), _bytes(place)
        for _ in range(MEASURED):
            _run(queue, place)
        trial_ms[trials] = 1e3 * (time.process_time() - began) / MEASURED
        trial_bytes[trials] = (_bytes(place) - before) / MEASURED
        report_s[trials] = _report(queue, store, place)
    add_growth(figures, "trials.trial_cpu_ms", trial_ms, "CPU ms of the launcher for a trial among", "trials")
    add_growth(figures, "trials.trial_bytes", trial_bytes, "bytes noted of a trial among", "trials")
    add_growth(figures, "trials.resume_cpu_s", resumed_s, "CPU seconds to take up a sweep of", "trials")
    add_growth(figures, "trials.report_cpu_s", report_s, "CPU seconds for ranking, tables and pictures of", "trials")


def _ended(folder: Path, count: int) -> None:
    """A sweep of which so many trials have ended."""
    trials = [
        Trial(name_of(number, 0), number, _values(number), 0, [], FINISHED if number % 3 else STOPPED)
        for number in range(count)
    ]
    TrialStore(trials=trials).write(folder)
    for trial in trials:
        _write_curve(folder, trial)


def _queue(folder: Path, known: int) -> tuple[TrialQueue, TrialStore]:
    sweep = SweepConfig(search="random", scheduler="none", points=known + MEASURED)
    store = TrialStore.read(folder)
    search = Listed(_values(number) for number in range(known + MEASURED))
    return TrialQueue(sweep, store, search, folder, lambda point, _: [f"optim.lr={point['optim.lr']}"]), store


def _run(queue: TrialQueue, folder: Path) -> None:
    """A trial from its beginning to its end, with the place that it is told."""
    trial = queue.next()
    assert isinstance(trial, Trial)
    _write_curve(folder, trial)
    newest = queue.curve(trial.name)[-1]
    queue.place_at(newest.epoch, newest.top1)
    queue.end(trial, FINISHED)


def _report(queue: TrialQueue, store: TrialStore, folder: Path) -> float:
    began = time.process_time()
    curves = {trial.name: queue.curve(trial.name) for trial in store.trials}
    ranking = rank(store, curves, ["top1"], 10_000)
    artifacts.write(ranking, store, curves, SweepConfig(space={"optim.lr": [0.1, 0.2]}), "scale", folder / "report")
    return time.process_time() - began


def _values(number: int) -> dict[str, float]:
    return {"optim.lr": round(0.001 + number % 997 / 1000, 6), "optim.momentum": 0.5 + number % 41 / 100}


def _write_curve(folder: Path, trial: Trial) -> None:
    place = ExperimentFolder(folder).member(trial.name).path
    place.mkdir(parents=True)
    for epoch in range(1, EPOCHS + 1):
        top1 = epoch / EPOCHS * (0.3 + trial.point * 7919 % 1009 / 2018)
        point = EvaluationPoint(epoch, 100 * epoch, top1, 1.0, 1.0, 100.0, last=epoch == EPOCHS)
        learning_curve.append(place, point)


def _bytes(folder: Path) -> int:
    return (folder / CHANGES).stat().st_size if (folder / CHANGES).exists() else 0
