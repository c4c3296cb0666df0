"""The trial queue of a sweep as a searcher of Ray Tune: trials that begin, and what became of those that ended.

In: the trial queue, and Tune's calls. Out: Tune's configs of trials, the trial store kept up to date, and each begin
and end for the main thread.
"""

import queue
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ray.tune.search import Searcher

from platform.config.checks import ConfigError
from platform.config.sections import Config
from platform.experiment.folder import ExperimentFolder
from platform.experiment.member_folder import FAILED as MEMBER_FAILED
from platform.sweep.trial_queue import NoTrial, TrialQueue
from platform.sweep.trial_store import DIVERGED, FAILED, FINISHED, OVER, STOPPED, Trial
from platform.training.meter import NonFiniteLoss
from platform.tune.schedulers import PAUSING
from platform.tune.trial import NAME, SEED, SETTINGS, STATE, changes_of

MAX_FAILURES = 20  # of a trial's process; those of the training are counted by itself


@dataclass(frozen=True)
class TrialChange:
    """A trial that begins or has ended, from Tune's thread to the launcher's main thread."""

    trial: Trial
    config: Config | None  # None: it has ended


class QueueSearcher(Searcher):
    """The trial queue as a searcher of Tune. Every call comes from Tune's thread.

    Args:
        trial_queue: hands out trials, and takes what became of them.
        composed: (a point's values, a seed) -> a trial's config.
        folder: the sweep's.
        config: the experiment's.
        changes: gets each trial that begins or has ended.
        at_most: trials to have under way. It may be raised at any time: Tune's own limit (`max_concurrent_trials`) is
            that of its start.
    """

    def __init__(
        self,
        trial_queue: TrialQueue,
        composed: Callable[[dict[str, Any], int], Config],
        folder: ExperimentFolder,
        config: Config,
        changes: "queue.Queue[TrialChange]",
        at_most: float,
    ) -> None:
        super().__init__(metric="top1", mode="max")
        self._trial_queue, self._composed, self._folder, self._config, self._changes = (
            trial_queue,
            composed,
            folder,
            config,
            changes,
        )
        self._trials: dict[str, Trial] = {}  # by Tune's ids
        self.interrupted = False  # what ends now has not ended by itself
        self.at_most = at_most
        self.paused: Callable[[], int] = lambda: 0  # how many of those under way Tune has paused: they do not count

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The config of the next trial; None: not now; FINISHED: there will be none."""
        while True:
            waits = self.interrupted or len(self._trials) - self.paused() >= self.at_most
            found = None if waits else self._trial_queue.next()
            if not isinstance(found, Trial):
                return Searcher.FINISHED if found is NoTrial.LEFT else None
            try:
                config = self._settings(found)
            except ConfigError as error:  # only some searches know their points before
                self._trial_queue.end(found, DIVERGED, str(error))
                continue
            self._trials[trial_id] = found
            if found.state not in OVER:
                self._changes.put(TrialChange(replace(found), config))
            return {NAME: found.name, SETTINGS: config, STATE: found.state, SEED: found.seed} | self._mutable(config)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Keep what became of a trial: what is on disk decides, `error` only says that Tune gave its process up."""
        trial = self._trials.pop(trial_id, None)
        if trial is None or self.interrupted:
            return
        replayed = trial.state in OVER
        trial.changes = changes_of(self._folder.member(trial.name))
        self._trial_queue.end(trial, *self._end_of(trial, error))
        if not replayed:
            self._changes.put(TrialChange(replace(trial), None))

    def _settings(self, trial: Trial) -> Config:
        config = self._composed(trial.values, trial.seed)
        pauses = self._config.sweep.scheduler in PAUSING
        return replace(
            config, checkpoint=replace(config.checkpoint, with_evaluations=pauses or config.checkpoint.with_evaluations)
        )

    def _mutable(self, config: Config) -> dict[str, Any]:
        """What PBT changes, beside the settings."""
        sweep = self._config.sweep
        return {key: _at(config, key) for key in sweep.mutations} if sweep.scheduler == "pbt" else {}

    def _end_of(self, trial: Trial, error: bool) -> tuple[str, str]:
        """(state, reason): what is on disk decides."""
        member = self._folder.member(trial.name)
        if member.is_finished(max(self._config.evaluation.views)):
            return FINISHED, ""
        state = member.state()
        if state.state == MEMBER_FAILED:
            diverged = state.error.startswith(NonFiniteLoss.__name__)
            return DIVERGED if diverged else FAILED, state.error
        if error:
            return FAILED, state.error or f"its process died more than {MAX_FAILURES} times"
        return STOPPED, self._why_stopped(trial)

    def _why_stopped(self, trial: Trial) -> str:
        own = self._trial_queue.curve(trial.name)
        if not own or self._config.sweep.scheduler == "median":  # whose rule is another
            return f"by {self._config.sweep.scheduler}"
        place, trials = self._trial_queue.place_at(own[-1].epoch, own[-1].top1)
        return f"by {self._config.sweep.scheduler}, as number {place} of {trials} trials there"

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its searcher for its own way of restoring, which is not used here: the trials are on disk."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Part of Tune's own way of restoring; does nothing."""

    def restore(self, checkpoint_path: str) -> None:
        """Part of Tune's own way of restoring; does nothing."""


def _at(config: Any, key: str) -> Any:
    for part in key.split("."):
        config = getattr(config, part)
    return config
