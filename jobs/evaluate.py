"""`job=evaluate`: the members' trained weights evaluated again, e.g. with more views; nothing is trained."""

from jobs import train
from platform.config.checks import VIEW_COUNTS, require
from platform.config.experiment import Experiment
from platform.evaluation.kept import read_scores
from platform.evaluation.seal import is_complete
from platform.experiment.folder import ExperimentFolder


def run(experiment: Experiment) -> int:
    """Evaluate `evaluation.split` with the views given, and never fewer than before: more views hold the fewer.

    Raises:
        ConfigError: a member is not trained, or `fresh` would move its weights aside.
    """
    require(not experiment.config.fresh, "fresh=true trains anew, and job=evaluate trains nothing; leave it out")
    folder, split = ExperimentFolder(experiment.folder), experiment.config.evaluation.split
    stored = _evaluated(folder, list(experiment.members), split)
    wanted = experiment.config.evaluation.views
    if more := sorted(stored - {*wanted}):
        had = ", ".join(map(str, more))
        print(f"evaluation.views is {wanted}; of {had} views there are results already, and they are made again, too")
    for config in (experiment.config, *experiment.members.values()):
        config.evaluation.views = sorted({*config.evaluation.views, *stored})
    return train.run(experiment, evaluate_again=True)


def _evaluated(folder: ExperimentFolder, members: list[str], split: str) -> set[int]:
    """Numbers of views that there are results of: the most that a member has, and those that were scored."""
    places = [folder.member(name).probabilities_of(split) for name in members]
    found = [views for views in VIEW_COUNTS if any(is_complete(place, views) for place in places)]
    kept = read_scores(folder.scores(split)) if found else None
    return {*found[-1:]} | {views for views in (kept.ensemble if kept else ()) if views in found}
