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
from platform.cluster.resources import Resources, gpus_per_worker
from platform.cluster.threads import in_thread
from platform.config.cluster import ClusterConfig
from platform.config.sections import Config
from platform.data.urls import join
from platform.experiment.folder import ExperimentFolder, Record
from platform.experiment.plan import plan_member
from platform.lanes.attempts import Attempts
from platform.lanes.console import Console
from platform.lanes.follower import POLL_EVERY_S, Follower
from platform.lanes.growth import Growth
from platform.lanes.mailbox import start_mailbox
from platform.lanes.monitor import Monitor
from platform.lanes.shared_index import SharedIndex
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
from platform.tune.trial_lanes import TrialLanes, largest

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
        self._lanes, self._trial_queue = TrialLanes(planned, folder, resources, gpus, mailbox), trial_queue
        self._workers = self._lanes.workers
        places = self._workers.places if self._workers else None
        self._shared = Shared(folder.path, mailbox, gpus, copies, config.sweep.scheduler, launch, index, places)
        single = largest(planned).cluster.max_workers == 1
        self._pauses = config.sweep.scheduler in PAUSING and single  # paused trials would count as running ones
        self._reuses = single  # its processes, for one trial after another
        self._searcher = QueueSearcher(trial_queue, composed, folder, config, self._changes, self._at_most())
        self._follower: Follower | None = None
        self._over: list[tuple[Trial, float]] = []  # trials that Tune has ended, and when that was noticed
        self._told: list[tuple[Trial, float]] = []  # those of them whose last messages have been handed on
        self._future = in_thread(self._fit)

    @property
    def side_by_side(self) -> int:
        """How many trials train at a time."""
        return self._lanes.side_by_side

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
        growth = Growth(self._grow, self._config.cluster, console.say)

        def after() -> None:
            self._end_trials(runs, console, attempts, monitor)
            growth.look()

        self._follower = Follower(
            self._shared.mailbox,
            self._folder.live,
            self._config.cluster.stall_timeout_s,
            runs,
            console,
            attempts,
            monitor,
            before=lambda: self._begin_trials(runs, console, attempts),
            after=after,
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
        _configure_tune(waiting=self.side_by_side if self._pauses else MANY)
        trainable = tune.with_parameters(run_trial, shared=self._shared)
        watch = TrialWatch(self._shared.mailbox, self._shared.places)
        if self._pauses:
            self._searcher.paused = watch.paused
        reserve = Reserve(self._shared.gpus, at_shared_workers=self._workers is not None)
        tune.Tuner(
            tune.with_resources(trainable, reserve),  # pyright: ignore[reportArgumentType]
            tune_config=tune.TuneConfig(
                metric="top1",
                mode="max",
                search_alg=self._searcher,
                scheduler=scheduler_of(self._config.sweep, self._config.training.epochs),
                num_samples=MANY,  # the searcher says when it is enough, and how many at a time
                reuse_actors=self._reuses,
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

    def _at_most(self) -> float:
        """How many trials Tune is to have under way, of which paused ones do not count. Of those that it pauses others
        wait for their turn beside those that run: a bracket of Hyperband's is not done before it is whole."""
        if not self._pauses:
            return self.side_by_side
        if self._workers:
            return 2 * self.side_by_side
        return math.inf  # each has reserved what it needs: as many run as there is room for, also on nodes that come

    def _grow(self, resources: Resources) -> int:
        """More lanes, for trials that have not ended; none while those that run save and end."""
        if self._searcher.interrupted:
            return 0
        more = self._lanes.grow(resources, self._planned.trials - self._trial_queue.ended)
        self._searcher.at_most = self._at_most()
        return more

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


def _configure_tune(waiting: int) -> None:
    """Tune prints, warns and writes for people who look at it; ours look elsewhere.

    Args:
        waiting: trials that may wait for room; with fewer than run side by side, these start one after another.
    """
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(waiting)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # trials tell their own errors
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ["TUNE_DISABLE_STRICT_METRIC_CHECKING"] = "1"  # trials that diverge have no scores
    os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = "100000"  # nobody restores from Tune's own notes
