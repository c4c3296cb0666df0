"""`job=report`: the report of what is trained, written anew from the files of its folder; nothing is trained."""

from platform.config.checks import ConfigError
from platform.config.experiment import Experiment
from platform.evaluation.kept import kept_scores
from platform.evaluation.table import with_table
from platform.experiment.folder import ExperimentFolder
from platform.experiment.methods import methods_of
from platform.experiment.teacher import with_teacher
from platform.report.artifacts import write_report
from platform.weights.initial import read_initial_weights


def run(experiment: Experiment) -> int:
    """Write `report.html` and its pictures; 1 if that cannot be.

    Raises:
        ConfigError: the folder has no such experiment, or its probabilities are damaged.
    """
    experiment = with_teacher(read_initial_weights(experiment).experiment)
    folder, evaluation = ExperimentFolder(experiment.folder), experiment.config.evaluation
    _require_same(experiment, folder)
    finished = {
        name: folder.member(name).probabilities_of(evaluation.split)
        for name in experiment.members
        if folder.member(name).is_finished(max(evaluation.views), evaluation.split)
    }
    scores_file, images_file = folder.scores(evaluation.split), folder.images(evaluation.split)
    scores = kept_scores(finished, evaluation.views, scores_file, images_file=images_file) if finished else None
    if scores:
        scores = with_table(scores, experiment.config.table, list(experiment.members), images_file)
        scores.methods = methods_of(folder, finished, experiment.config)
    written = write_report(experiment, folder, scores, evaluation.split)
    if written:
        print(f"report    {written[0]}")
    return 0 if written else 1


def _require_same(experiment: Experiment, folder: ExperimentFolder) -> None:
    """Refuse a folder without this experiment.

    Raises:
        ConfigError: it was never run, or with another config.
    """
    if not folder.exists():
        raise ConfigError(f"{folder.path} has no experiment; run it first, or give its output_dir and name")
    folder.require_same(experiment)
