"""Which trial of a sweep comes next: trials of earlier launches, then points of the search, then other seeds.

In: the trial store, the search, and how trials ended. Out: trials, one at a time. Every change is in the store on disk
before anybody hears of it.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path

from platform.config.jobs import SweepConfig
from platform.experiment.folder import ExperimentFolder
from platform.sweep.search import Search
from platform.sweep.trial_store import FINISHED, OVER, WAITING, Point, Trial, TrialStore, name_of
from platform.training.learning_curve import CurveReader

REPLAYED = ("asha", "hyperband", "median")  # schedulers that need the scores of earlier launches' trials again


class NoTrial(Enum):
    """What `TrialQueue.next` gives where there is no trial to run."""

    YET = "others have to end first"
    LEFT = "the sweep has no more"


class TrialQueue:
    """Hands out the trials of a sweep, and takes note of how they end."""

    def __init__(
        self,
        sweep: SweepConfig,
        store: TrialStore,
        search: Search,
        folder: Path,
        overrides: Callable[[Point, int], list[str]],
    ) -> None:
        """Take up a sweep where its store says that it is.

        Args:
            sweep: its settings.
            store: the trials of earlier launches; new ones are added to it and to its files.
            search: a fresh one, which is told the trials in the store.
            folder: of the sweep.
            overrides: makes the overrides of a trial from its point and seed.
        """
        self._sweep, self._store, self._search, self._folder, self._overrides = sweep, store, search, folder, overrides
        self._running: dict[str, Trial] = {}
        self._seeds: dict[int, set[int]] = defaultdict(set)  # point -> the seeds that it has trials of
        for trial in store.trials:
            self._seeds[trial.point].add(trial.seed)
        self._others: deque[tuple[int, Point, int]] | None = None  # seeds to come; None: not known yet
        self.curve = CurveReader(lambda name: ExperimentFolder(folder).member(name).path)
        self.curve.add(trial.name for trial in store.trials)
        self._tell_search()
        self._queue = deque(self._unfinished())
        if self._queue or self._more():
            self._queue.extendleft(reversed(self._replays()))

    def next(self) -> Trial | NoTrial:
        """The next trial to run. One that is over already is not to be trained: the scheduler is to get its scores."""
        trial = self._queue.popleft() if self._queue else self._first_seed() or self._other_seed()
        if isinstance(trial, Trial):
            self._running[trial.name] = trial
            if trial.state not in OVER:
                self.curve.runs(trial.name)
        return trial

    def end(self, trial: Trial, state: str, reason: str = "") -> None:
        """Take note that a trial which was handed out has ended, in which state and why."""
        self._running.pop(trial.name, None)
        self.curve.ended(trial.name)
        if trial.state in OVER:
            return
        trial.state, trial.reason = state, reason
        self._store.note(self._folder, trial)
        if trial.seed == 0:
            self._search.tell(trial.point, state, self.curve(trial.name))

    def place_at(self, epoch: float, top1: float) -> tuple[int, int]:
        """(rank of a score at an epoch, from 1; how many trials have reached that epoch)."""
        return self.curve.place_at(epoch, top1)

    @property
    def is_over(self) -> bool:
        """Whether no trial is running, and none is left to run."""
        return not (self._queue or self._running or self._more())

    @property
    def ended(self) -> int:
        """How many trials have ended, in this launch or for good in earlier ones."""
        return sum(trial.state != WAITING for trial in self._store.trials)

    def _tell_search(self) -> None:
        for trial in self._store.trials:
            if trial.seed == 0:
                self._search.again(trial.point, trial.values)
                if trial.state in OVER:
                    self._search.tell(trial.point, trial.state, self.curve(trial.name))

    def _unfinished(self) -> list[Trial]:
        unfinished = [trial for trial in self._store.trials if trial.state not in OVER]
        for trial in unfinished:
            trial.state, trial.reason = WAITING, ""
        if unfinished:
            self._store.write(self._folder)
        return unfinished

    def _replays(self) -> list[Trial]:
        over = [trial for trial in self._store.trials if trial.state in OVER and trial.seed == 0]
        return over if self._sweep.scheduler in REPLAYED else []

    def _more(self) -> bool:
        if len(self._seeds) < self._search.size:
            return True
        return any(True for _ in self._missing_seeds()) if self._others is None else bool(self._others)

    def _first_seed(self) -> Trial | None:
        number = len(self._seeds)
        return self._add(number, self._search.next(number), seed=0) if number < self._search.size else None

    def _other_seed(self) -> Trial | NoTrial:
        """A trial with another seed. If only the best points get more seeds, every first seed has to end before."""
        if self._chooses and any(trial.seed == 0 for trial in self._running.values()):
            return NoTrial.YET
        if self._others is None:  # once: every first seed that counts has ended, and no further point will come
            self._others = deque(self._missing_seeds())
        return self._add(*self._others.popleft()) if self._others else NoTrial.LEFT

    @property
    def _chooses(self) -> bool:
        return self._sweep.scheduler != "none" or self._sweep.finalists is not None

    def _missing_seeds(self) -> Iterator[tuple[int, Point, int]]:
        for trial in self._finalists() if self._sweep.seeds > 1 else []:
            for seed in range(self._sweep.seeds):
                if seed not in self._seeds[trial.point]:
                    yield trial.point, trial.values, seed

    def _finalists(self) -> list[Trial]:
        """The first trials of the points that get every seed, the best first."""
        firsts = [trial for trial in self._store.trials if trial.seed == 0]
        if not self._chooses:
            return firsts
        curves = {trial.point: self.curve(trial.name) for trial in firsts if trial.state == FINISHED}
        scores = {point: evaluations[-1].top1 for point, evaluations in curves.items() if evaluations}
        best = sorted((trial for trial in firsts if trial.point in scores), key=lambda trial: -scores[trial.point])
        return best[: self._sweep.finalists]

    def _add(self, point: int, values: Point, seed: int) -> Trial:
        trial = Trial(name_of(point, seed), point, values, seed, self._overrides(values, seed))
        self._store.trials.append(trial)
        self._seeds[point].add(seed)
        self._store.note(self._folder, trial)
        return trial
