"""A sweep on Ray Tune: the agenda as Tune's searcher, Tune's schedulers, and what becomes of the trials.

In: an agenda and a cluster. Out: trials that begin and end, in the book and handed on to MLflow and the terminal.
"""

import contextlib
import logging
import math
import os
import queue
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import ray
from ray import tune
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import (
    ASHAScheduler,
    FIFOScheduler,
    HyperBandScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
    TrialScheduler,
)
from ray.tune.search import Searcher

from jobs.attempts import Attempts
from jobs.lanes import WARN_AFTER_S, Lanes
from jobs.results import Results
from jobs.runs import Runs
from jobs.trial import NAME, SEED, SETTINGS, STATE, Shared, changes_of, run_trial
from platform.cluster import (
    CannotGoOn,
    GroupEvent,
    Resources,
    gpus_per_worker,
    in_thread,
    lane_count,
    release,
    start_mailbox,
)
from platform.config import ClusterConfig, Config, ConfigError, SweepConfig, first_line, replaced
from platform.console import Console
from platform.data.storage import join
from platform.experiment import FAILED as MEMBER_FAILED
from platform.experiment import ExperimentFolder, Record
from platform.plan import plan_member
from platform.sweep import curve
from platform.sweep.agenda import Agenda, Nothing
from platform.sweep.plan import SweepPlan
from platform.sweep.trials import DIVERGED, FAILED, FINISHED, OVER, STOPPED, Book, Trial, lane_of
from platform.training.meter import NonFiniteLoss

log = logging.getLogger("platform")
MAX_FAILURES = 20  # of a trial's process; those of the training are counted by itself
MANY = 10**9
STOP_WAITS_S = 5.0
LOOK_EVERY_S = 1.0
PAUSING = ("pbt", "hyperband")  # trials wait for others, and go on from a checkpoint
RUNNING = "RUNNING"  # Tune's word


@dataclass(frozen=True)
class News:
    """From Tune's thread to the launcher's main thread."""

    trial: Trial
    config: Config | None  # None: it has ended


class Tuning:
    """Ray Tune under way, in a thread of this process."""

    def __init__(
        self,
        planned: SweepPlan,
        book: Book,
        agenda: Agenda,
        composed: Callable[[dict[str, Any], int], Config],
        folder: ExperimentFolder,
        record: Record,
        resources: Resources,
    ) -> None:
        config = planned.base.experiment.config
        self._planned, self._book, self._folder, self._config = planned, book, folder, config
        self._news: queue.Queue[News] = queue.Queue()
        self._results = Results(folder, config.evaluation.views)
        gpus = gpus_per_worker(config.cluster, resources)
        config.loader.require_gpu(available=gpus > 0)
        self.side_by_side = lane_count(_smallest(planned).cluster, resources, planned.trials)
        mailbox: Any = start_mailbox()
        copies = join(config.checkpoint.copy_to, record.copies) if config.checkpoint.copy_to else None
        launch = time.strftime("%Y%m%d-%H%M%S")
        self._shared = Shared(folder.path, mailbox, gpus, copies, config.sweep.scheduler, launch)
        self._searcher = AgendaSearcher(agenda, composed, folder, config, self._news)
        future = in_thread(self._fit)
        warn_after_s = min(WARN_AFTER_S, config.cluster.stall_timeout_s / 2)
        self._lanes = Lanes([future], mailbox, folder.live, warn_after_s)

    def follow(self, runs: Runs, console: Console, attempts: Attempts) -> None:
        """Hand on what trials tell until the last has ended.

        Raises:
            CannotGoOn: every attempt would meet the same.
        """
        self._lanes.news = lambda: self._hand_on(runs, console, attempts)
        self._lanes.follow(runs, console, attempts)
        self._hand_on(runs, console, attempts)
        if error := self._lanes.futures[0].exception():
            raise CannotGoOn(f"Ray Tune ended early ({type(error).__name__}: {first_line(error)})") from error

    def save(self, runs: Runs, console: Console, attempts: Attempts) -> None:
        """Have every running trial save."""
        self._searcher.interrupted = True
        self._lanes.save(self._config.checkpoint.grace_s, runs, console, attempts)

    def close(self) -> None:
        """End Tune, wherever it is."""
        self._searcher.interrupted = True
        with contextlib.suppress(Exception):
            self._lanes.futures[0].result(timeout=STOP_WAITS_S)

    def _fit(self) -> None:
        _settle_tune(self.side_by_side)
        single = _largest(self._planned).cluster.max_workers == 1
        sweep = self._config.sweep
        pauses = sweep.scheduler in PAUSING and single  # paused trials would count as running ones
        trainable = tune.with_parameters(run_trial, shared=self._shared)
        tune.Tuner(
            tune.with_resources(trainable, Reserve(self._shared.gpus)),  # pyright: ignore[reportArgumentType]
            tune_config=tune.TuneConfig(
                metric="top1",
                mode="max",
                search_alg=self._searcher,
                scheduler=scheduler_of(sweep, self._config.training.epochs),
                num_samples=MANY,  # the searcher says when it is enough
                max_concurrent_trials=None if pauses else self.side_by_side,
                reuse_actors=single,
                trial_name_creator=lambda trial: trial.config[NAME],
                trial_dirname_creator=lambda trial: trial.config[NAME],
            ),
            run_config=tune.RunConfig(
                name=f"tune-{self._shared.launch}",
                storage_path=str(self._folder.path / "ray"),
                callbacks=[TrialWatch(self._shared.mailbox), Silence()],
                stop=StopWhen(self._searcher),
                failure_config=tune.FailureConfig(max_failures=MAX_FAILURES),
                verbose=0,
            ),
        ).fit()

    def _hand_on(self, runs: Runs, console: Console, attempts: Attempts) -> None:
        while not self._news.empty():
            news = self._news.get()
            trial = news.trial
            if news.config:
                attempts.add(trial.name, time.time())
                self._results.begin(runs, trial, news.config)
                console.add(plan_member(trial.name, news.config, self._planned.base.train_samples, None))
            else:
                attempts.end(trial.name, trial.state, time.time())
                attempts.write(now=True)  # MLflow is told what is on disk
                self._results.end(runs, trial)
                console.end(trial.name, self._line(trial))

    def _line(self, trial: Trial) -> str:
        moments = curve.read(self._folder.member(trial.name).path)
        top1 = f"top-1 {100 * moments[-1].top1:6.2f}%" if moments else " " * 13
        epoch = f" after epoch {moments[-1].epoch:g}" if moments and trial.state == STOPPED else ""
        how = "" if trial.state == FINISHED else f"  {trial.state}{epoch}: {trial.reason}"
        return f"{top1}  {', '.join(trial.words)}{how}"


@dataclass(frozen=True)
class Reserve:
    """What Tune reserves: all that a trial of one worker needs; nothing for one of several, whose worker group reserves
    its own as a whole. (Reserving twice is how trials and their workers wait for each other for ever.)"""

    gpus: int  # of each worker

    def __call__(self, config: dict[str, Any]) -> dict[str, float]:
        cluster: ClusterConfig = config[SETTINGS].cluster
        if cluster.max_workers > 1:
            return {"memory": 1}  # a byte: Tune does not take nothing
        return {"CPU": cluster.cpus_per_worker, "GPU": self.gpus}


class AgendaSearcher(Searcher):
    """The agenda as Tune knows searchers. Every call comes from Tune's thread."""

    def __init__(
        self,
        agenda: Agenda,
        composed: Callable[[dict[str, Any], int], Config],
        folder: ExperimentFolder,
        config: Config,
        news: "queue.Queue[News]",
    ) -> None:
        super().__init__(metric="top1", mode="max")
        self._agenda, self._composed, self._folder, self._config, self._news = agenda, composed, folder, config, news
        self._trials: dict[str, Trial] = {}  # by Tune's ids
        self.interrupted = False  # what ends now has not ended by itself

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        while True:
            found = None if self.interrupted else self._agenda.next()
            if not isinstance(found, Trial):
                return Searcher.FINISHED if found is Nothing.MORE else None
            try:
                config = self._settings(found)
            except ConfigError as error:  # only some searches know their points before
                self._agenda.end(found, DIVERGED, str(error))
                continue
            self._trials[trial_id] = found
            if found.state not in OVER:
                self._news.put(News(replace(found), config))
            return {NAME: found.name, SETTINGS: config, STATE: found.state, SEED: found.seed} | self._mutable(config)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        trial = self._trials.pop(trial_id, None)
        if trial is None or self.interrupted:
            return
        replayed = trial.state in OVER
        trial.changes = changes_of(self._folder.member(trial.name))
        self._agenda.end(trial, *self._end_of(trial, error))
        if not replayed:
            self._news.put(News(replace(trial), None))

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
        curves = [curve.read(path) for path in self._folder.path.glob("members/*")]
        own = curve.read(self._folder.member(trial.name).path)
        if not own or self._config.sweep.scheduler == "median":  # whose rule is another
            return f"by {self._config.sweep.scheduler}"
        epoch = own[-1].epoch
        there = [moment.top1 for moments in curves for moment in moments if moment.epoch == epoch]
        place = 1 + sum(top1 > own[-1].top1 for top1 in there)
        return f"by {self._config.sweep.scheduler}, as number {place} of {len(there)} trials there"

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles itself for its own way of restoring, which nobody goes here: the book is on disk."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """As above."""

    def restore(self, checkpoint_path: str) -> None:
        """As above."""


class TrialWatch(tune.Callback):
    """Sees to the worker groups of trials that Tune has ended or paused, and tells the launcher of those that died."""

    def __init__(self, mailbox: Any) -> None:
        self._mailbox = mailbox
        self._looked_at = 0.0

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if time.monotonic() - self._looked_at > LOOK_EVERY_S:
            self._looked_at = time.monotonic()
            idle = [lane_of(str(trial)) for trial in trials if trial.status != RUNNING]
            release(ray.get(self._mailbox.take_groups.remote(idle)))

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        event = GroupEvent(lane_of(str(trial)), "failed", "its process ended", time.time())
        self._mailbox.put.remote(event)


class Silence(TrialProgressCallback):
    """In the place of Tune's own, which prints of trials without a score at any `verbose`."""

    def _print(self, msg: str) -> None:
        pass


class StopWhen(tune.Stopper):
    """Ends all when the launcher was interrupted."""

    def __init__(self, searcher: AgendaSearcher) -> None:
        self._searcher = searcher

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._searcher.interrupted


def scheduler_of(sweep: SweepConfig, epochs: float) -> TrialScheduler:
    """Ray Tune's scheduler. Scores of the last epoch come when a trial has ended, so none is ended by them."""
    last, grace = math.ceil(epochs), sweep.grace_epochs
    match sweep.scheduler:
        case "asha":  # Li et al., MLSys 2020
            return ASHAScheduler("epoch", max_t=last, grace_period=grace, reduction_factor=sweep.reduction)
        case "hyperband":  # Li et al., JMLR 2018
            return HyperBandScheduler("epoch", max_t=last, reduction_factor=sweep.reduction)
        case "median":  # Golovin et al., KDD 2017
            return MedianStoppingRule("epoch", grace_period=grace)
        case "pbt":  # Jaderberg et al., 2017
            return Population("epoch", perturbation_interval=grace, custom_explore_fn=Explore(sweep))
        case _:
            return FIFOScheduler()


class Population(PopulationBasedTraining):
    """PBT on trials that our searcher hands out. Ray refuses searchers, since most would learn from points that PBT has
    changed; those that are allowed here learn nothing."""

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        super().on_trial_add(SimpleNamespace(search_alg=None), trial)  # pyright: ignore[reportArgumentType]


class Explore:
    """PBT's changes: every mutable key times one of its factors."""

    def __init__(self, sweep: SweepConfig) -> None:
        self._factors, self._draws = sweep.mutations, random.Random(sweep.seed)

    def __call__(self, config: dict[str, Any]) -> dict[str, Any]:
        for key, factors in self._factors.items():
            value = config[key] * self._draws.choice(factors)
            with contextlib.suppress(ConfigError):  # a value that cannot be: it stays as it was
                replaced(config[SETTINGS], key, value)
                config[key] = value
        return config


def _at(config: Any, key: str) -> Any:
    for part in key.split("."):
        config = getattr(config, part)
    return config


def _smallest(planned: SweepPlan) -> Config:
    return min(_sizes(planned), key=lambda config: config.cluster.max_workers)


def _largest(planned: SweepPlan) -> Config:
    return max(_sizes(planned), key=lambda config: config.cluster.max_workers)


def _sizes(planned: SweepPlan) -> list[Config]:
    """The experiment's config with each number of workers that the sweep has."""
    config = planned.base.experiment.config
    workers = [choice for each in planned.space if each.key == "cluster.workers" for choice in each.choices]
    return [replaced(config, "cluster.workers", number) for number in workers] or [config]


def _settle_tune(side_by_side: int) -> None:
    """Tune prints, warns and writes for people who look at it; ours look elsewhere."""
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(side_by_side)  # or the first ones start one after another
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # trials tell their own errors
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ["TUNE_DISABLE_STRICT_METRIC_CHECKING"] = "1"  # trials that diverge have no scores
    os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = "100000"  # nobody restores from Tune's own notes
