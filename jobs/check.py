"""`job=check`: every check that needs no training, and the plan."""

from platform.config import Experiment
from platform.plan import lines, plan


def run(experiment: Experiment) -> int:
    """Print the plan; a config that cannot work never gets here without its error."""
    print("\n".join(lines(plan(experiment))))
    return 0
