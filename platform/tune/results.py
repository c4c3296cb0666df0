"""What MLflow is told of the trials of a sweep: that they began, and what became of them.

In: trials that begin or have ended. Out: entries of the tracking journal, through `Runs`. Scoring a trial's
probabilities takes minutes where they are many: while a sweep runs, a thread of its own does it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from platform.config.checks import CannotGoOn, ConfigError
from platform.config.sections import Config
from platform.daemon_thread import Backlog
from platform.evaluation import report
from platform.evaluation.kept import kept_scores
from platform.evaluation.table import EnsembleScores
from platform.experiment.folder import ExperimentFolder
from platform.sweep.trial_store import FINISHED, STOPPED, Trial
from platform.text import first_line
from platform.tracking import varied
from platform.tracking.runs import Runs

AGAIN = "the same command evaluates it again"
# MLflow's words for ends, FAILED for others. That a scheduler stops a weak trial is how a sweep should go.
STATUS = {FINISHED: "FINISHED", STOPPED: "FINISHED"}
STOPPED_EARLY = "stopped early"


@dataclass(frozen=True)
class Scored:
    """A trial that has ended, and its figures."""

    trial: Trial
    figures: dict[str, float] = field(default_factory=dict)  # none of one that did not finish
    scores: EnsembleScores | None = None  # that they come from
    error: str = ""  # why there are none


@dataclass(frozen=True)
class Results:
    """Tells of the trials in one sweep's folder."""

    folder: ExperimentFolder
    views: list[int]  # evaluation.views

    def begin(self, runs: Runs, trial: Trial, config: Config) -> None:
        """Open the MLflow run of a trial, with its values as `changed.KEY`; of a range as `changed.KEY.min`, `.max`."""
        runs.open(trial.name, config, varied.of_point(trial.values))

    def scored(self, trial: Trial) -> Scored:
        """The figures of a finished one; what it says of each image is kept for the ranking, which compares trials
        image by image. Never raises: one trial's damaged files are not the sweep's end."""
        member = self.folder.member(trial.name)
        views = sorted({1, *self.views})  # the ranking is by one view
        try:
            scores = kept_scores(
                {trial.name: member.probabilities}, views, member.scores, _quiet, member.images, remedy=AGAIN
            )
        except Exception as error:
            cause = (
                first_line(error) if isinstance(error, ConfigError) else f"{type(error).__name__}: {first_line(error)}"
            )
            return Scored(trial, error=cause)
        return Scored(trial, report.final_metrics(scores, trial.name, "val"), scores)

    def end(self, runs: Runs, found: Scored, warn: Callable[[str], None]) -> None:
        """Close the MLflow run of a trial that has ended, with its figures.

        Args:
            runs: MLflow's.
            found: the trial and its figures. One without the figures that it should have is evaluated and reported
                again by the next launch.
            warn: is told of such a one.
        """
        trial, error = found.trial, found.error
        if error:
            warn(f"{trial.name} has no final scores in MLflow: {error}")
            self.folder.member(trial.name).forget_evaluation()
        tags = _tags(trial) | ({"error": error} if error else {})
        status = STATUS.get(trial.state, "FAILED")
        runs.end(trial.name, status, tags, found.figures, scores=found.scores, again=bool(error))


class Scoring(Backlog[Trial, Scored]):
    """A thread that scores finished trials one after another, in the order in which they ended. A launcher that is
    interrupted does not wait for it; the next one scores what is not reported. Trials that did not finish have no
    scores, and wait for nobody's: an interruption finds their runs ended."""

    def __init__(self, results: Results) -> None:
        super().__init__("scoring", results.scored)

    def put(self, item: Trial) -> None:
        """Have a trial that is over scored, if it finished; returns at once."""
        if item.state == FINISHED:
            super().put(item)
        else:
            self.put_done(Scored(item))

    def take(self) -> list[Scored]:
        """Those that are done; returns at once.

        Raises:
            CannotGoOn: nothing will be any more.
        """
        if not self.thread.is_alive():
            raise CannotGoOn(f"the scoring thread has ended ({self.thread.error})")
        return super().take()


def _quiet(said: str) -> None:
    """The console shows how many trials are being scored."""


def _tags(trial: Trial) -> dict[str, str]:
    reason = {"reason": trial.reason} if trial.reason else {}
    changes = {"changes": "; ".join(f"epoch {e:g}: {key}={value}" for e, key, value in trial.changes)}
    outcome = STOPPED_EARLY if trial.state == STOPPED else trial.state
    return {"outcome": outcome} | reason | (changes if trial.changes else {})
