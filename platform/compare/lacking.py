"""Why a run has no results of a split to compare, and what makes them.

In: a run whose record is read. Out: a clause for an error message.
"""

import shlex

from platform.experiment.folder import ExperimentFolder
from platform.experiment.recorded import Recorded
from platform.overrides import key_of
from platform.sweep.trial_store import FINISHED, STOPPED, Trial, TrialStore
from platform.text import printable
from platform.training import learning_curve

NOT_AGAIN = ("job", "fresh", "evaluation.split")  # overrides that another job of the same experiment does not have


def reason(then: Recorded, folder: ExperimentFolder, split: str) -> str:
    """Why none of its members has results.

    Args:
        then: of the run, a member or a trial.
        folder: of its experiment.
        split: val or test.
    """
    if then.data and split not in then.data:
        return f"its data have no {split} split"
    names = list(then.configs)
    if "sweep" in folder.record().identity:
        return _of_trial(TrialStore.read(folder.path).trial(names[0]), folder, split)
    if split != "val" and all(folder.member(name).is_trained() for name in names):
        return f"it was not evaluated on the {split} split: {_evaluation(then, split)} does that"
    error = folder.member(names[0]).state().error
    return f"it is not finished{f' ({printable(error)})' if error else ''}: its own command goes on with it"


def _of_trial(trial: Trial, folder: ExperimentFolder, split: str) -> str:
    curve = learning_curve.read(folder.member(trial.name).path)
    reached = f" at epoch {curve[-1].epoch:g}" if curve else ""
    if trial.state == STOPPED:
        return (
            f"it was stopped early{reached} ({printable(trial.reason)}), so that nothing is known of single images; it "
            "would not compare with trials of more epochs either"
        )
    if trial.state != FINISHED:
        return f"it is {trial.state}{reached}{f' ({printable(trial.reason)})' if trial.reason else ''}"
    if split != "val":
        return (
            f"trials of a sweep are evaluated on the validation images alone: job=promote promote.sweep={folder.path} "
            f"makes it an experiment, and that one's job=evaluate evaluation.split={split} does it"
        )
    return "its probabilities are gone, and what was said of each image was not kept; the sweep's own command does it"


def _evaluation(then: Recorded, split: str) -> str:
    """The command that evaluates it, as far as the run's own is known."""
    own = shlex.split(then.origin.command) if then.origin else []
    kept = [word for word in own if not ("=" in word and key_of(word).lstrip("+") in NOT_AGAIN)]
    words = shlex.join([*kept, "job=evaluate", f"evaluation.split={split}"])
    return words if own else f"its own command with {words}"
