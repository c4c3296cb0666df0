"""`job=sweep`: trials of `sweep.space` on Ray Tune, each an ordinary training, then their ranking.

In: an experiment with a sweep. Out: `trials.json`, each trial's weights and probabilities, an MLflow run for each
trial under one parent run, and `report/`. The same command again goes on: trials that are over stay as they are.
"""

import contextlib
import logging
import shutil
import sys
import textwrap
import time
from dataclasses import asdict, replace
from functools import partial
from importlib import import_module
from pathlib import Path

from jobs.pack import prepare_data
from jobs.register import register_at_end
from platform.cluster.preparation import disconnect, prepare
from platform.cluster.runtime_env import fork_server
from platform.config.checks import CannotGoOn, ConfigError, stopped
from platform.config.experiment import Experiment
from platform.config.sections import Config
from platform.console import duration
from platform.data.index import Index
from platform.experiment.destinations import require_copies
from platform.experiment.folder import ExperimentFolder, Record
from platform.experiment.fresh import same_command
from platform.experiment.goodput import LAUNCHER_LOST
from platform.experiment.member_folder import MemberState
from platform.experiment.origin import git_commit
from platform.experiment.plan import Plan
from platform.experiment.run_logs import keep_logs
from platform.export.description import Description
from platform.export.experiment import export_experiment
from platform.export.folder import MODEL
from platform.lanes.attempts import Attempts
from platform.lanes.console import Console
from platform.lanes.monitor import exported
from platform.signals import INTERRUPTED, Interrupted, signals
from platform.sweep.best_trial import best_seed
from platform.sweep.plan import SweepPlan, plan_sweep, sweep_identity
from platform.sweep.report import artifacts, ranking, table
from platform.sweep.report.outcome import Curves, Ranked
from platform.sweep.report.right_images import RightImages, right_images
from platform.sweep.report.verdict import cautions, verdict
from platform.sweep.search import search_of
from platform.sweep.trial_config import composed, overrides_of
from platform.sweep.trial_queue import TrialQueue
from platform.sweep.trial_store import DIVERGED, FAILED, FILE, FINISHED, OVER, WAITING, Trial, TrialStore
from platform.text import first_line
from platform.tracking.launches import check_tracking, deliver, end_runs_of_before, say_pages, say_success, say_waiting
from platform.tracking.runs import Runs
from platform.tune.results import Results
from platform.weights.initial import read_initial_weights

log = logging.getLogger("platform")
LOST_SHOWN = 50  # trials that failed or diverged, on the terminal
PROMOTED = 7  # as many networks as the paper's ensemble has


def run(experiment: Experiment) -> int:
    """Run what is left of the sweep and rank its points.

    Returns:
        The exit code: 0 if every trial ended, also where MLflow is away and its metrics wait in the journal; 1 if some
        failed, 130 if interrupted.

    Raises:
        ConfigError: the sweep cannot be run as it is configured.
    """
    begin = read_initial_weights(experiment)
    experiment = begin.experiment
    planned = plan_sweep(experiment)
    require_copies(experiment)
    config = experiment.config
    check_tracking(config.tracking)
    folder = ExperimentFolder(experiment.folder)
    try:
        with signals(Interrupted), folder.held(config.cluster.lock_within_s), keep_logs(experiment):
            prepare(config.cluster, tuned=True)
            if config.fresh:
                end_runs_of_before(experiment, folder)
            data = prepare_data(config, planned.base.index)
            if not planned.base.packed:  # as in jobs/train.py
                planned = plan_sweep(experiment)
            record = folder.open(experiment, data, sweep_identity(config.sweep))
            for line in begin.keep(folder, data):
                print(line)
            status, waiting = _Sweep(planned, folder, record, data).run()
            return 0 if register_at_end(experiment, whole=status == 0, waiting=waiting) and status == 0 else 1
    except Interrupted as interrupted:
        again = same_command(experiment)
        print(f"\n{interrupted}: {again} goes on: finished trials stay, the others from their newest checkpoints")
        return INTERRUPTED
    except (CannotGoOn, OSError) as error:
        print(stopped(error), file=sys.stderr)
        return 1
    finally:
        disconnect()


class _Sweep:
    """One launch of a sweep whose folder is locked."""

    def __init__(self, planned: SweepPlan, folder: ExperimentFolder, record: Record, data: Index) -> None:
        self._planned, self._folder, self._record, self._data = planned, folder, record, data
        self._experiment = planned.base.experiment
        self._config = self._experiment.config
        self._store = self._open_store()
        sweep = self._config.sweep
        self._have_evaluated_again()
        for trial in self._store.trials:
            if trial.state not in OVER:  # a new launch gives it new attempts
                member = folder.member(trial.name)
                member.set_state(MemberState(error=member.state().error))
        self._ranked: ranking.Ranking | None = None
        search = search_of(sweep, planned.space, self._store.points)
        self.queue = TrialQueue(sweep, self._store, search, folder.path, partial(overrides_of, self._config))

    def run(self) -> tuple[int, int]:
        """The exit code, and how many journal entries are still queued for MLflow."""
        started = time.monotonic()
        before = sum(trial.state in OVER for trial in self._store.trials)
        if self.queue.is_over:
            print(f"{self._folder.name}: every trial is over; nothing to train (fresh=true sweeps anew)")
            waiting = deliver(self._experiment, self._folder)
            if not self._record.whole or self._unreported:
                waiting = self._run_and_report(train=False)
        else:
            waiting = self._run_and_report(train=True)
        now = sum(trial.state in OVER for trial in self._store.trials) - before
        self._show(now, time.monotonic() - started)
        if not self._store.is_whole(self._record.reported):
            return 1, waiting
        say_success(waiting)
        return 0, waiting

    def _open_store(self) -> TrialStore:
        store = TrialStore.read(self._folder.path)
        if self._record.member_runs and not store.trials:
            raise ConfigError(
                f"{self._folder.path / FILE} is missing or empty, though the sweep had {len(self._record.member_runs)} "
                "trials; bring it back, or give fresh=true to start anew"
            )
        store.base, store.commit = asdict(self._config), store.commit or git_commit() or ""
        store.choices = self._experiment.choices
        store.write(self._folder.path)
        return store

    def _have_evaluated_again(self) -> None:
        """Queue finished trials again whose probabilities are missing: they are only evaluated, not trained."""
        views = max(self._config.evaluation.views)
        for trial in self._unreported:
            if trial.state == FINISHED and not self._folder.member(trial.name).is_finished(views):
                trial.state = WAITING

    @property
    def _unreported(self) -> list[Trial]:
        reported = set(self._record.reported)
        return [trial for trial in self._store.trials if trial.state in OVER and trial.name not in reported]

    def _run_and_report(self, *, train: bool) -> int:
        """Run trials (if `train`) and write the report.

        Returns:
            How many journal entries are still queued for MLflow.

        Raises:
            Interrupted: by a signal; every MLflow run was ended as killed.
        """
        base = replace(self._planned.base, members=[])
        runs = Runs(self._experiment, self._folder, self._record, [], self._data)
        try:
            self._report_ends(runs)
            if train:
                self._run_trials(base, runs)
            self._report(runs)
        except BaseException as error:
            runs.interrupt("KILLED" if isinstance(error, Interrupted) else "FAILED", first_line(error))
            say_waiting(self._experiment, self._folder, runs.close())
            raise
        waiting = runs.close()
        say_waiting(self._experiment, self._folder, waiting)
        return waiting

    def _report_ends(self, runs: Runs) -> None:
        """Report trials that are over but were not reported, as their launcher was killed before it could."""
        late = self._unreported
        Attempts(self._folder, [trial.name for trial in late]).close(LAUNCHER_LOST)
        results = Results(self._folder, self._config.evaluation.views)
        for trial in late:
            try:
                results.begin(runs, trial, self._composed(trial.values, trial.seed))
                results.end(runs, results.scored(trial), log.warning)
            except ConfigError:  # a point whose config cannot be: its trial never began
                self._record.reported.append(trial.name)

    def _run_trials(self, base: Plan, runs: Runs) -> None:
        from platform.cluster.connect import connect

        attempts, stack = Attempts(self._folder, []), contextlib.ExitStack()
        over = [trial.name for trial in self._store.trials if trial.state in OVER]
        monitor, endpoint = exported(self._experiment, attempts, self._folder, over)
        stack.callback(endpoint.close)
        try:
            # Ray Tune and torch take seconds to import.
            resources = connect(
                self._config.cluster, meanwhile=lambda: import_module("platform.tune.driver"), tuned=True
            )
            from platform.tune.driver import Tuning

            tuning = Tuning(self._planned, self.queue, self._composed, self._folder, self._record, resources)
            stack.callback(tuning.close)
            expected = max(0, self._planned.trials - sum(trial.state in OVER for trial in self._store.trials))
            with Console(base, [], tuning.side_by_side, expected=expected) as console:
                console.say(
                    f"{self._experiment.name}: {expected} of {self._planned.trials} trials to run, "
                    f"{tuning.side_by_side} side by side on {resources.nodes} node(s), {resources.cpus} CPUs, "
                    f"{resources.gpus} GPUs; fork server {fork_server(self._config.cluster)}"
                )
                endpoint.say(console.say)
                try:
                    tuning.follow(runs, console, attempts, monitor)
                except Interrupted:
                    console.say("saving ...")
                    tuning.save()
                    raise
            attempts.close("its workers ended")
        except BaseException as error:
            attempts.close(first_line(error))
            raise
        finally:
            stack.close()
            disconnect()
            shutil.rmtree(self._folder.path / "ray", ignore_errors=True)
            self._folder.live.unlink(missing_ok=True)

    def _composed(self, point: dict[str, object], seed: int) -> Config:
        return composed(self._experiment, point, seed)

    def _report(self, runs: Runs) -> None:
        self._store.write(self._folder.path)
        curves = self._curves()
        found = self._ranking(curves)
        place = self._folder.path / "report"
        files = artifacts.write(found, self._store, curves, self._config.sweep, self._folder.name, place)
        status = "FINISHED" if any(trial.state == FINISHED for trial in self._store.trials) else "FAILED"
        if found.best and self._config.export.models:
            self._export(found.best, runs)
        runs.close_sweep(status, artifacts.metrics(found), files, verdict(found))

    def _export(self, best: Ranked, runs: Runs) -> None:
        """Make the model of the best point's best trial; those of others can be had by promoting them."""
        trial = self._store.trial(best_seed(best))
        config = self._composed(trial.values, trial.seed)
        if export_experiment({trial.name: config}, self._folder, self._data):
            runs.log_best(trial.name)

    def _ranking(self, curves: Curves) -> ranking.Ranking:
        """All have ended: it is made once, as bootstraps of many trials take seconds."""
        if self._ranked is None:
            objectives, samples = self._config.sweep.objectives, self._planned.base.val_samples
            self._ranked = ranking.rank(self._store, curves, objectives, samples, self._right_images())
        return self._ranked

    def _right_images(self) -> RightImages:
        """Of finished trials. What a sweep of an earlier version has not kept is made anew of their probabilities."""
        finished = [trial for trial in self._store.trials if trial.state == FINISHED]
        found = right_images(self._folder, [trial.name for trial in finished])
        late = [trial for trial in finished if trial.name in found.missing and self._has_probabilities(trial)]
        if not late:
            return found
        print(f"scoring {len(late)} trial(s), image by image ...")
        results = Results(self._folder, self._config.evaluation.views)
        for trial in late:
            if error := results.scored(trial).error:
                log.warning("%s is not compared image by image: %s", trial.name, error)
        return right_images(self._folder, [trial.name for trial in finished])

    def _has_probabilities(self, trial: Trial) -> bool:
        return self._folder.member(trial.name).is_finished(views=1)

    def _curves(self) -> Curves:
        """The learning curve of each trial, by its name. All have ended, so that none is read twice."""
        return {trial.name: self.queue.curve(trial.name) for trial in self._store.trials}

    def _show(self, trials: int, seconds: float) -> None:
        found = self._ranking(self._curves())
        said = [verdict(found), *cautions(found)]
        lines = [line for each in said for line in textwrap.wrap(each, table.WIDTH)]
        print("\n".join(["", *lines, "", *table.lines(found)]))
        lost = [trial for trial in self._store.trials if trial.state in (FAILED, DIVERGED)]
        for trial in lost[:LOST_SHOWN]:
            print(f"{trial.name} {trial.state}: {trial.reason}")
        if lost[LOST_SHOWN:]:
            print(f"and {len(lost) - LOST_SHOWN:,} more that failed or diverged: see report/ranking.csv")
        if trials:
            print(f"\n{trials} trial(s) in {duration(seconds)}")
        if found.best and (model := self._folder.path / MODEL).exists():
            print(f"model     {model} ({whose(model, best_seed(found.best))})")
        print(f"report    {self._folder.path / 'report' / 'report.html'}")
        say_pages(self._experiment)
        if found.points:
            count = f"promote.count={min(PROMOTED, len(found.contenders))}"
            print(f"promote   python -m platform.launch job=promote promote.sweep={_near(self._folder.path)} {count}")


def whose(model: Path, best: str) -> str:
    """Of which trial a sweep's model is: where that of the best could not be made, a former best's is still there."""
    try:
        trial = ", ".join(Description.read(model).members)
    except ValueError as error:
        return first_line(error)
    return f"of {trial}" if trial == best else f"of {trial}; of the best, {best}, there is none"


def _near(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
