"""`job=ensemble`: the members of `ensemble.members`, side by side in lanes, then the paper's table."""

from jobs import train
from platform.config.checks import require
from platform.config.experiment import Experiment


def run(experiment: Experiment) -> int:
    """Train and evaluate every member, score the ensemble; the exit status is that of `train`."""
    members = experiment.config.ensemble.members
    require(bool(members), "ensemble.members is empty; choose ensemble=googlenet_seven, or name members")
    return train.run(experiment)
