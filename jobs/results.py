"""What MLflow is told of the trials of a sweep: that they began, and what became of them.

In: trials from the book. Out: entries of the tracking journal, through `Runs`.
"""

from dataclasses import dataclass

from jobs.runs import Runs
from platform.config import Config
from platform.evaluation import report
from platform.evaluation.ensemble import score
from platform.evaluation.probabilities import MemberProbabilities
from platform.experiment import ExperimentFolder
from platform.sweep.trials import FINISHED, STOPPED, Trial

STATUS = {FINISHED: "FINISHED", STOPPED: "KILLED"}  # MLflow's words for ends; FAILED for others


@dataclass(frozen=True)
class Results:
    """Tells of the trials in one sweep's folder."""

    folder: ExperimentFolder
    views: list[int]  # evaluation.views

    def begin(self, runs: Runs, trial: Trial, config: Config) -> None:
        runs.open(trial.name, config, {f"point.{key}": str(value) for key, value in trial.values.items()})

    def end(self, runs: Runs, trial: Trial) -> None:
        runs.end(trial.name, STATUS.get(trial.state, "FAILED"), _tags(trial), self._figures(trial))

    def _figures(self, trial: Trial) -> dict[str, float]:
        if trial.state != FINISHED:
            return {}
        probabilities = MemberProbabilities(self.folder.member(trial.name).probabilities)
        scores = score({trial.name: probabilities}, self.views)
        return report.metrics(scores.members[trial.name], prefix="test")


def _tags(trial: Trial) -> dict[str, str]:
    reason = {"reason": trial.reason} if trial.reason else {}
    changes = {"changes": "; ".join(f"epoch {e:g}: {key}={value}" for e, key, value in trial.changes)}
    return {"outcome": trial.state} | reason | (changes if trial.changes else {})
