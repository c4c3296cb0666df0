"""`job=deliver`: what a run's journal still holds goes to MLflow, and the run into the registry if it is to be there.

In: the folder of a run, with the command that it was run with. Out: the queued metrics, files and models in MLflow.
Needs neither Ray nor workers: on Kubernetes it is a head without worker pods.
"""

import sys

from jobs.register import register_at_end
from platform.config.checks import CannotGoOn, require, stopped
from platform.config.experiment import Experiment
from platform.experiment.folder import ExperimentFolder
from platform.experiment.member_folder import FINISHED
from platform.signals import INTERRUPTED, Interrupted, signals
from platform.sweep.trial_store import TrialStore
from platform.tracking.launches import check_tracking, deliver


def run(experiment: Experiment) -> int:
    """Deliver what is queued for MLflow, and register the run if it is to be.

    Returns:
        The exit code: 0 if nothing is left to do, 1 if MLflow is still away or refuses the registration.

    Raises:
        ConfigError: there is no such run, somebody else holds it, it is damaged, or MLflow cannot be used as it is.
    """
    folder = ExperimentFolder(experiment.folder)
    require(not experiment.config.fresh, "fresh=true begins anew, and job=deliver begins nothing; leave it out")
    require(
        folder.exists(),
        f"there is no run in {experiment.folder}, so nothing to deliver; give the name= and output_dir= that it has",
    )
    check_tracking(experiment.config.tracking)
    try:
        with signals(Interrupted), folder.held():
            waiting = deliver(experiment, folder)
            is_whole = _is_whole(folder)
    except Interrupted as interrupted:
        print(f"\n{interrupted}: the same command goes on")
        return INTERRUPTED
    except (CannotGoOn, OSError) as error:
        print(stopped(error), file=sys.stderr)
        return 1
    if waiting:
        return 1
    print(f"{folder.name}: nothing is queued for MLflow")
    if not is_whole:
        if experiment.config.registry.name:
            print(f"{folder.name} is not registered: not all of it is finished; the command of the run goes on")
        return 0
    return 0 if register_at_end(experiment, whole=True, needs_answer=True) else 1


def _is_whole(folder: ExperimentFolder) -> bool:
    """Whether the run has ended with all that its members or trials should come to, as the registry demands."""
    record, store = folder.record(), TrialStore.read(folder.path)
    if store.trials:
        return record.whole and store.is_whole(record.reported)
    members = [name for name in record.member_runs if name in record.configs and name in record.identity]
    return record.whole and all(folder.member(name).state().state == FINISHED for name in members)
