"""Scores of members that have ended, read by a thread while others still train.

In: names of members that are trained and evaluated. Out: their scores, once they are read.
"""

import logging
import time
from collections.abc import Iterator

from platform.config.experiment import Experiment
from platform.daemon_thread import Backlog
from platform.evaluation.kept import kept_scores, scored
from platform.evaluation.table import EnsembleScores
from platform.experiment.folder import ExperimentFolder

log = logging.getLogger("platform")
LOOK_EVERY_S = 0.02
Scored = tuple[str, EnsembleScores | None]  # a member; None: its files cannot be read


class Scorer:
    """Reads the probabilities of members, one member after another."""

    def __init__(self, experiment: Experiment, folder: ExperimentFolder) -> None:
        self._experiment, self._folder = experiment, folder
        self._backlog: Backlog[str, Scored] | None = None

    def put(self, name: str) -> None:
        """Have a member scored; returns at once."""
        self._backlog = self._backlog or Backlog("scoring", self.scored)
        self._backlog.put(name)

    def take(self) -> list[Scored]:
        """Those that are scored by now; returns at once."""
        return self._backlog.take() if self._backlog else []

    def rest(self) -> Iterator[Scored]:
        """All that were put and not taken, each when it is scored."""
        while self._backlog and self._backlog.waiting and self._backlog.thread.is_alive():
            yield from self.take()
            time.sleep(LOOK_EVERY_S)
        yield from self.take()

    def scored(self, name: str) -> Scored:
        """Score a member now."""
        evaluation, member = self._experiment.config.evaluation, self._folder.member(name)
        place, split = {name: member.probabilities_of(evaluation.split)}, evaluation.split
        try:
            if list(self._experiment.members) == [name]:  # the whole experiment's, too: probabilities are read once
                kept = self._folder.scores(split), _quiet, self._folder.images(split)
                return name, kept_scores(place, evaluation.views, *kept)
            return name, scored(place, evaluation.views)
        except Exception as error:  # the evaluation of the whole experiment says it
            log.debug("%s is not scored (%s)", name, error)
            return name, None


def _quiet(said: str) -> None:
    """The console shows what the members do."""
