"""`job=distill`: one network that learns what the members of `distill.teacher` say of the training images.

In: an experiment with a finished teacher. Out: as of `job=train`, and the table that sets it beside its teacher.
"""

from jobs import train
from platform.config.experiment import Experiment


def run(experiment: Experiment) -> int:
    """Ask the teacher about every training image once, and train; the exit status is that of `train`.

    Raises:
        ConfigError: the teacher is not finished, or of other images or classes.
    """
    return train.run(experiment)
