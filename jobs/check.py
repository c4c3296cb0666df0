"""`job=check`: every check that needs no training, and the plan.

In: an experiment. Out: the plan on the terminal, or the first error.
"""

from platform.config.sections import Experiment
from platform.experiment.destinations import require_places
from platform.experiment.plan import lines, plan
from platform.sweep.plan import lines as sweep_lines
from platform.sweep.plan import plan_sweep
from platform.tracking.sqlite_store import require_usable
from platform.tracking.tracker import require_answer


def run(experiment: Experiment) -> int:
    """Check the experiment and print its plan; always 0, as what cannot work raises ConfigError."""
    if experiment.config.sweep.space:
        planned = plan_sweep(experiment)
        text, packed = lines(planned.base) + sweep_lines(planned), planned.base.packed
    else:
        made = plan(experiment)
        text, packed = lines(made), made.packed
    if experiment.config.cluster.kube is None:  # pods write to their volume, and have another network
        require_places(experiment, packed=packed)
        if said := require_usable(experiment.config.tracking):
            text.append(f"warning: {said}")
        if experiment.config.tracking.required:
            require_answer(experiment.config.tracking)
    print("\n".join(text))
    return 0
