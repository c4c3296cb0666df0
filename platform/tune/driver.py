"""A sweep on Ray Tune, under way beside the launcher.

In: a trial queue and a cluster. Out: trials that begin and end, in the trial store, in MLflow and on the terminal.
"""

import contextlib
import logging
import math
import os
import queue
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ray import tune

from platform.cluster.connect import CannotGoOn
from platform.cluster.resources import Resources, gpus_per_worker, lane_count
from platform.cluster.threads import in_thread
from platform.config.cluster import FUSED_IF_SMALL, ClusterConfig
from platform.config.identity import replaced
from platform.config.sections import Config
from platform.data.urls import join
from platform.experiment.folder import ExperimentFolder, Record
from platform.experiment.plan import plan_member
from platform.lanes.attempts import Attempts
from platform.lanes.console import Console
from platform.lanes.follower import POLL_EVERY_S, Follower
from platform.lanes.lane import LaneMember
from platform.lanes.mailbox import start_mailbox
from platform.lanes.monitor import Monitor
from platform.lanes.shared_index import SharedIndex
from platform.lanes.shared_workers import SharedWorkers
from platform.sweep.fused_trials import require_population, trials_together
from platform.sweep.plan import SweepPlan
from platform.sweep.trial_queue import TrialQueue
from platform.sweep.trial_store import FINISHED, STOPPED, Trial
from platform.text import first_line
from platform.tracking.runs import Runs
from platform.training import learning_curve
from platform.tune.callbacks import Silence, TrialWatch
from platform.tune.results import Results, Scoring
from platform.tune.schedulers import PAUSING, scheduler_of
from platform.tune.searcher import MAX_FAILURES, QueueSearcher, TrialChange
from platform.tune.trial import NAME, SETTINGS, Shared, run_trial

MANY = 10**9
STOP_WAITS_S = 5.0


class Tuning:
    """Ray Tune under way, in a thread of this process.

    Args:
        planned: the sweep's size and space.
        trial_queue: hands out trials, and takes what became of them.
        composed: (a point's values, a seed) -> a trial's config.
        folder: the sweep's.
        record: of the sweep, which knows where its copies go.
        resources: the cluster's.

    Raises:
        ConfigError: GPUs are wanted that the workers do not have.
    """

    def __init__(
        self,
        planned: SweepPlan,
        trial_queue: TrialQueue,
        composed: Callable[[dict[str, Any], int], Config],
        folder: ExperimentFolder,
        record: Record,
        resources: Resources,
    ) -> None:
        config = planned.base.experiment.config
        self._planned, self._folder, self._config = planned, folder, config
        self._changes: queue.Queue[TrialChange] = queue.Queue()
        self._results = Results(folder, config.evaluation.views)
        self._scoring = Scoring(self._results)
        gpus = gpus_per_worker(config.cluster, resources)
        config.loader.require_gpu(available=gpus > 0)
        mailbox: Any = start_mailbox()
        copies = join(config.checkpoint.copy_to, record.copies) if config.checkpoint.copy_to else None
        launch = time.strftime("%Y%m%d-%H%M%S")
        index = SharedIndex.of(planned.base.index, config.data) if planned.base.index else None
        self.side_by_side = lane_count(_smallest(planned).cluster, resources, planned.trials)
        self._workers = _shared_workers(planned, folder, resources, gpus, mailbox, alone=self.side_by_side)
        if self._workers:
            self.side_by_side = min(self._workers.count * self._workers.each, planned.trials)
        places = self._workers.places if self._workers else None
        self._shared = Shared(folder.path, mailbox, gpus, copies, config.sweep.scheduler, launch, index, places)
        self._searcher = QueueSearcher(trial_queue, composed, folder, config, self._changes)
        self._follower: Follower | None = None
        self._over: list[tuple[Trial, float]] = []  # trials that Tune has ended, and when that was noticed
        self._told: list[tuple[Trial, float]] = []  # those of them whose last messages have been handed on
        self._future = in_thread(self._fit)

    def follow(self, runs: Runs, console: Console, attempts: Attempts, monitor: Monitor) -> None:
        """Hand on what trials tell until the last has ended and is scored.

        Args:
            runs: MLflow's, which get metrics and what became of each trial.
            console: gets states, metrics and warnings.
            attempts: of the trials.
            monitor: gets what Prometheus is told of them.

        Raises:
            CannotGoOn: every attempt would meet the same.
        """
        self._follower = Follower(
            self._shared.mailbox,
            self._folder.live,
            self._config.cluster.stall_timeout_s,
            runs,
            console,
            attempts,
            monitor,
            before=lambda: self._begin_trials(runs, console, attempts),
            after=lambda: self._end_trials(runs, console, attempts, monitor),
        )
        self._follower.follow([self._future])
        self._begin_trials(runs, console, attempts)
        self._wait_for_scores(runs, console, attempts, monitor)
        if self._workers:
            console.say(f"{self._workers.steps_together():,} steps of trials were made together with others'")
        if error := self._future.exception():
            raise CannotGoOn(f"Ray Tune ended early ({type(error).__name__}: {first_line(error)})") from error

    def save(self) -> None:
        """Have every running trial save."""
        self._searcher.interrupted = True
        if self._follower:
            self._follower.save(self._config.checkpoint.grace_s)

    def close(self) -> None:
        """End Tune, wherever it is."""
        self._searcher.interrupted = True
        with contextlib.suppress(Exception):
            self._future.result(timeout=STOP_WAITS_S)
        if self._workers:
            self._workers.close()

    def _fit(self) -> None:
        _configure_tune(self.side_by_side)
        single = _largest(self._planned).cluster.max_workers == 1
        sweep = self._config.sweep
        pauses = sweep.scheduler in PAUSING and single  # paused trials would count as running ones
        trainable = tune.with_parameters(run_trial, shared=self._shared)
        watch = TrialWatch(self._shared.mailbox, self._shared.places)
        if pauses and self._workers:
            self._searcher.hold_back(2 * self.side_by_side, watch.paused)  # as many wait, so that brackets are whole
        reserve = Reserve(self._shared.gpus, at_shared_workers=self._workers is not None)
        tune.Tuner(
            tune.with_resources(trainable, reserve),  # pyright: ignore[reportArgumentType]
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
                callbacks=[watch, Silence()],
                stop=StopWhen(self._searcher),
                failure_config=tune.FailureConfig(max_failures=MAX_FAILURES),
                verbose=0,
            ),
        ).fit()

    def _begin_trials(self, runs: Runs, console: Console, attempts: Attempts) -> None:
        """Take what Tune has begun and ended; what is told of a trial that begins comes after that."""
        while not self._changes.empty():
            change = self._changes.get()
            if change.config:
                trial = change.trial
                attempts.add(trial.name, time.time())
                self._results.begin(runs, trial, change.config)
                console.add(plan_member(trial.name, change.config, self._planned.base.train_samples, None))
            else:
                self._over.append((change.trial, time.time()))

    def _end_trials(self, runs: Runs, console: Console, attempts: Attempts, monitor: Monitor) -> None:
        """End the trials that were over when the newest messages were fetched. Of one that Tune has ended since then,
        the last beat, which says how far it came, may still be in the mailbox: it is the next time's."""
        for trial, at in self._told:
            attempts.end(trial.name, trial.state, at)
            attempts.write(now=True)  # MLflow is told what is on disk
            monitor.ended(trial.name, trial.state)
            console.end(trial.name, self._line(trial))
            self._scoring.put(trial)
        self._told, self._over = self._over, []
        for scored in self._scoring.take():
            self._results.end(runs, scored, console.warn)

    def _wait_for_scores(self, runs: Runs, console: Console, attempts: Attempts, monitor: Monitor) -> None:
        """End the last trials, and wait until all are scored."""
        while self._told or self._over:
            self._end_trials(runs, console, attempts, monitor)
        if self._scoring.waiting:
            console.say(f"scoring {self._scoring.waiting} trial(s) ...")
        while self._scoring.waiting:
            time.sleep(POLL_EVERY_S)
            self._end_trials(runs, console, attempts, monitor)

    def _line(self, trial: Trial) -> str:
        evaluations = learning_curve.read(self._folder.member(trial.name).path)
        top1 = f"top-1 {100 * evaluations[-1].top1:6.2f}%" if evaluations else " " * 13
        epoch = f" after epoch {evaluations[-1].epoch:g}" if evaluations and trial.state == STOPPED else ""
        how = "" if trial.state == FINISHED else f"  {trial.state}{epoch}: {trial.reason}"
        return f"{top1}  {', '.join(trial.overrides)}{how}"


@dataclass(frozen=True)
class Reserve:
    """What Tune reserves: all that a trial in its process needs; nothing for others, whose workers are reserved by
    themselves. (Reserving twice is how trials and their workers wait for each other for ever.)"""

    gpus: int  # of each worker
    at_shared_workers: bool = False

    def __call__(self, config: dict[str, Any]) -> dict[str, float]:
        cluster: ClusterConfig = config[SETTINGS].cluster
        if self.at_shared_workers or cluster.max_workers > 1:
            return {"memory": 1}  # a byte: Tune does not take nothing
        return {"CPU": cluster.cpus_per_worker, "GPU": self.gpus}


class StopWhen(tune.Stopper):
    """Ends all when the launcher was interrupted."""

    def __init__(self, searcher: QueueSearcher) -> None:
        self._searcher = searcher

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        """Whether Tune is to end."""
        return self._searcher.interrupted


def _shared_workers(
    planned: SweepPlan, folder: ExperimentFolder, resources: Resources, gpus: int, mailbox: Any, alone: int
) -> SharedWorkers | None:
    """The workers that train several trials each, under way; None: each trial trains by itself, `alone` of them side by
    side."""
    config = planned.base.experiment.config
    together = trials_together(config, planned.tried, planned.trials, alone, on_gpu=gpus > 0)
    if together == 1:
        return None
    count = lane_count(config.cluster, resources, math.ceil(planned.trials / together))
    member = LaneMember("trials", config, folder.path / "members" / "trials", None)
    each = min(together, math.ceil(planned.trials / count))
    if config.cluster.fuse == FUSED_IF_SMALL and config.sweep.scheduler == "pbt" and planned.trials > count * each:
        return None
    require_population(config, planned.trials, count * each)
    return SharedWorkers(count, each, gpus, member, mailbox)


def _smallest(planned: SweepPlan) -> Config:
    return min(_sizes(planned), key=lambda config: config.cluster.max_workers)


def _largest(planned: SweepPlan) -> Config:
    return max(_sizes(planned), key=lambda config: config.cluster.max_workers)


def _sizes(planned: SweepPlan) -> list[Config]:
    """The experiment's config with each number of workers that the sweep has."""
    config = planned.base.experiment.config
    workers = [choice for each in planned.space if each.key == "cluster.workers" for choice in each.choices]
    return [replaced(config, "cluster.workers", number) for number in workers] or [config]


def _configure_tune(side_by_side: int) -> None:
    """Tune prints, warns and writes for people who look at it; ours look elsewhere."""
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(side_by_side)  # or the first ones start one after another
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # trials tell their own errors
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ["TUNE_DISABLE_STRICT_METRIC_CHECKING"] = "1"  # trials that diverge have no scores
    os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = "100000"  # nobody restores from Tune's own notes
