"""`job=check`: every check that needs no training, and the plan."""

from jobs.sweep import composer
from platform.config import Experiment
from platform.plan import lines, plan
from platform.sweep.plan import lines as sweep_lines
from platform.sweep.plan import plan_sweep


def run(experiment: Experiment) -> int:
    """Print the plan; a config that cannot work never gets here without its error."""
    if experiment.config.sweep.space:
        planned = plan_sweep(experiment, composer())
        print("\n".join(lines(planned.base) + sweep_lines(planned)))
    else:
        print("\n".join(lines(plan(experiment))))
    return 0
