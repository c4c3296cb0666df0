"""`job=evaluate`: the members' trained weights evaluated again, e.g. with other views; nothing is trained."""

from jobs import train
from platform.config import ConfigError, Experiment
from platform.experiment import ExperimentFolder


def run(experiment: Experiment) -> int:
    """Evaluate again with `evaluation.*` as given.

    Raises:
        ConfigError: a member is not trained.
    """
    folder = ExperimentFolder(experiment)
    untrained = [name for name in experiment.members if not folder.member(name).is_trained()]
    if untrained:
        raise ConfigError(f"{experiment.name} has no trained weights of {', '.join(untrained)}; train them first")
    for name in experiment.members:
        folder.member(name).forget_evaluation()
    return train.run(experiment)
