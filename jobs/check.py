"""`job=check`: every check that needs no training, and the plan.

In: an experiment. Out: the plan on the terminal, or the first error.
"""

from platform.config.experiment import Experiment
from platform.config.tracking import TrackingConfig
from platform.experiment.destinations import require_places
from platform.experiment.folder import ExperimentFolder
from platform.experiment.plan import plan
from platform.experiment.plan_text import lines
from platform.experiment.teacher import with_teacher
from platform.redaction import redacted
from platform.sweep.plan import lines as sweep_lines
from platform.sweep.plan import plan_sweep, sweep_identity
from platform.tracking.accounts import require_account
from platform.tracking.answers import status_of
from platform.tracking.links import server_of
from platform.tracking.sqlite_store import require_usable
from platform.tracking.tracker import require_answer
from platform.weights.initial import read_initial_weights


def run(experiment: Experiment) -> int:
    """Check the experiment and print its plan; always 0, as what cannot work raises ConfigError."""
    if experiment.config.cluster.kube is None:  # pods read them from their volume
        experiment = with_teacher(read_initial_weights(experiment).experiment)
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
        require_account(experiment.config.tracking)
        text += _answers(experiment.config.tracking)
        text += _so_far(experiment)
    print("\n".join(text))
    return 0


def _answers(tracking: TrackingConfig) -> list[str]:
    """A line where the MLflow server does not answer. MLflow itself takes seconds to import.

    Raises:
        ConfigError: it does not, and `tracking.required`.
    """
    if tracking.required:
        require_answer(tracking)
    if not (server := server_of(tracking.uri)):
        return []
    try:
        status_of(f"{server}/health")  # any status will do: it may answer only those whom it knows
    except OSError as error:
        why = redacted(str(error))
        return [f"warning: no MLflow answers at {server} ({why}); until one does, metrics wait in the run's folder"]
    return []


def _so_far(experiment: Experiment) -> list[str]:
    """What is there of the experiment already.

    Raises:
        ConfigError: another experiment is.
    """
    folder = ExperimentFolder(experiment.folder)
    if not folder.exists():
        return []
    if experiment.config.fresh:
        return [f"fresh=true moves what is in {folder.path} aside"]
    folder.require_same(experiment, sweep_identity(experiment.config.sweep))
    if holder := folder.holder():
        return [f"it is being run by {holder}"]
    if experiment.config.sweep.space:
        return ["it was begun before: the same command goes on"]
    views, members = max(experiment.config.evaluation.views), experiment.members
    finished = sum(folder.member(name).is_finished(views) for name in members)
    return [f"{finished} of {len(members)} member(s) are finished already; the others are trained, or go on"]
