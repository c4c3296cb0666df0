"""`job=check`: every check that needs no training, and the plan."""

from platform.config.sections import Experiment
from platform.experiment.destinations import require_places
from platform.experiment.plan import lines, plan
from platform.sweep.plan import lines as sweep_lines
from platform.sweep.plan import plan_sweep
from platform.tracking.tracker import require_answer


def run(experiment: Experiment) -> int:
    """Print the plan; a config that cannot work never gets here without its error."""
    if experiment.config.sweep.space:
        planned = plan_sweep(experiment)
        text, packed = lines(planned.base) + sweep_lines(planned), planned.base.packed
    else:
        made = plan(experiment)
        text, packed = lines(made), made.packed
    if experiment.config.cluster.kube is None:  # whose pods write to their volume, and have a network of their own
        require_places(experiment, packed=packed)
        if experiment.config.tracking.required:
            require_answer(experiment.config.tracking)
    print("\n".join(text))
    return 0
