"""The trial that stands for its sweep: the best seed of the best point, whose model `job=sweep` exports.

In: the folder of a sweep, or of any run as a command line names it. Out: its best trial.
"""

from pathlib import Path

from platform.config.checks import ConfigError
from platform.experiment.folder import ExperimentFolder
from platform.sweep.report.outcome import Curves, Ranked
from platform.sweep.report.ranking import outcomes
from platform.sweep.trial_store import FILE, FINISHED, STOPPED, TrialStore, name_of
from platform.training import learning_curve


def best_seed(point: Ranked) -> str:
    """The name of a point's best trial."""
    return name_of(point.point, point.seeds[point.scores.index(max(point.scores))])


def best_trial(folder: ExperimentFolder) -> str | None:
    """The name of a sweep's best trial; None: none has finished.

    Raises:
        ConfigError: `trials.json` is damaged.
    """
    store = TrialStore.read(folder.path)
    curves: Curves = {trial.name: learning_curve.read(folder.member(trial.name).path) for trial in store.trials}
    points, _ = outcomes(store, curves, 1)  # of how many images makes no difference to the order
    return best_seed(points[0]) if points else None


def sweep_at(place: str, output_dir: Path) -> ExperimentFolder | None:
    """The sweep that a command line names; None: it names something else, such as a trial of it.

    Args:
        place: runs/NAME, or NAME of one in `output_dir`.
        output_dir: where experiments are.
    """
    for base in (Path(), output_dir):
        folder = ExperimentFolder(base / Path(place).expanduser())
        if folder.exists():
            return folder if (folder.path / FILE).exists() else None
    return None


def with_best_trial(place: str, output_dir: Path) -> str:
    """The place of a run, where that is a sweep of its best trial. Args as of `sweep_at`.

    Raises:
        ConfigError: none has finished.
    """
    sweep = sweep_at(place, output_dir)
    if sweep is None:
        return place
    best = best_trial(sweep)
    if best is None:
        raise ConfigError(f"{place} is a sweep without a finished trial; its own command goes on with it")
    return f"{place.rstrip('/')}/{best}"


def trials_tried(place: str, output_dir: Path) -> int:
    """Among how many trials one was, or could have been, chosen by the validation images; 1 for what is none of a
    sweep.

    Seeds count, as the best point's best seed is chosen by the same images, and so do trials that a scheduler stopped
    by their scores. Those that failed or diverged had nothing to be chosen by.

    Args:
        place: runs/SWEEP/TRIAL, or another run.
        output_dir: where experiments are.
    """
    path = Path(place).expanduser()
    sweep = sweep_at(str(path.parent), output_dir) if path.name else None
    trials = TrialStore.read(sweep.path).trials if sweep else []
    return max(1, sum(trial.state in (FINISHED, STOPPED) for trial in trials))
