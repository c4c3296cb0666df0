"""The MLflow runs of one experiment: a parent run, and a child run for each member or trial.

In: metrics while it runs, states and scores at the end. Out: entries of the experiment's tracking journal, which the
tracker delivers. What a killed launcher has not reported, the next one reports.
"""

import contextlib
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

from platform.config.sections import Config, Experiment
from platform.evaluation import report
from platform.evaluation.table import EnsembleScores
from platform.experiment.folder import FINISHED, ExperimentFolder, MemberState, Record
from platform.experiment.goodput import Goodput, read_attempts, table
from platform.experiment.origin import FILE as ORIGIN
from platform.tracking.journal import Journal
from platform.tracking.tracker import Tracker, new_key

log = logging.getLogger("platform")
DESCRIPTION = "mlflow.note.content"  # what MLflow's page of a run shows as its description, in Markdown
SMALL_ENOUGH_TO_UPLOAD = 100_000_000  # bytes; larger probabilities stay where they are, and the run says where


class Runs:
    """Open runs of an experiment; `report` or `interrupt` ends them, `close` ends the delivery."""

    def __init__(self, experiment: Experiment, folder: ExperimentFolder, record: Record, names: list[str]) -> None:
        """Start or resume the runs.

        Args:
            experiment: its config and members.
            folder: where the journal is.
            record: of the experiment; gets the keys of new runs.
            names: members that are not finished.
        """
        self._folder, self._record, self._names = folder, record, list(names)
        self._split = experiment.config.evaluation.split
        self._tracker = Tracker(experiment.config.tracking, Journal(folder.tracking))
        is_new, parent = record.parent_run is None, record.parent_run or new_key()
        record.parent_run = parent
        for name in names:
            record.member_runs.setdefault(name, new_key())
        folder.write(record)  # first: if this process dies, the next one resumes these runs
        self._tracker.start(experiment.name, _params(experiment.config), again=parent)
        if is_new and (origin := folder.path / ORIGIN).exists():
            self._tracker.artifact(parent, origin)
        for name in names:
            run = record.member_runs[name]
            self._tracker.start(name, _params(experiment.members[name]), parent=parent, again=run)

        self._log_kept(*self._names)

    def open(self, name: str, config: Config, params: dict[str, str]) -> None:
        """Start or resume the run of a sweep's trial.

        Args:
            name: of the trial.
            config: its parameters.
            params: more parameters, its values in the search space.
        """
        self._names.append(name)
        run = self._record.member_runs.setdefault(name, new_key())
        self._record.configs[name] = asdict(config)
        self._record.reported = [each for each in self._record.reported if each != name]  # it failed in a launch before
        self._folder.note_run(self._record, name)
        self._tracker.start(name, _params(config), parent=self._parent(), again=run, params=params)
        self._log_kept(name)

    def end(
        self, name: str, status: str, tags: dict[str, str], figures: dict[str, float], *, again: bool = False
    ) -> None:
        """End the run of a sweep's trial.

        Args:
            name: of the trial.
            status: FINISHED, FAILED or KILLED.
            tags: of the run.
            figures: final metrics.
            again: the next launch reports it again.
        """
        self._names.remove(name)
        self._log_kept(name)
        self._report_goodput(name)
        run = self._record.member_runs[name]
        for key, value in tags.items():
            self._tracker.tag(run, key, value)
        self._tracker.summary(run, figures)
        self._tracker.finish(run, status)
        if not again and name not in self._record.reported:
            self._record.reported.append(name)
            self._folder.note_reported(name)

    def close_sweep(self, status: str, figures: dict[str, float], files: list[Path], verdict: str) -> None:
        """End the parent run of a sweep whose trials have ended, with its figures and the files of its report."""
        parent = self._parent()
        self._tracker.summary(parent, figures)
        for path in files:
            self._tracker.artifact(parent, path, "report")
        self._tracker.tag(parent, DESCRIPTION, verdict)
        self._tracker.finish(parent, status)
        self._folder.write(self._record)

    def _log_kept(self, *names: str) -> None:
        """Log the metrics that workers have kept while no launcher was alive; known points are left out."""
        for name in names:
            for step, metrics, at in self._folder.member(name).take_reports():
                self._tracker.log(self._record.member_runs[name], step, metrics, at)

    def log(self, name: str, step: int, metrics: dict[str, float], at: float) -> None:
        """Log metrics of a member at a global step; `at` is the time in seconds since the epoch."""
        self._tracker.log(self._record.member_runs[name], step, metrics, at)

    def report(self, states: dict[str, MemberState], scores: EnsembleScores | None, tables: list[Path]) -> None:
        """End every open run by its member's state, with scores and files.

        Args:
            states: of all members that were open.
            scores: of the evaluation; None if there was none.
            tables: files for the parent run.
        """
        self._log_kept(*self._names)
        self._report_goodput(*self._names)
        for name in self._names:
            run, state = self._record.member_runs[name], states[name]
            if state.state == FINISHED and scores:
                self._tracker.summary(run, report.metrics(scores.members[name], prefix=self._split))
                self._tracker.artifact(run, self._folder.member(name).weights, "model")
                self._upload_probabilities(run, self._folder.member(name).probabilities_of(self._split))
                self._tracker.finish(run, "FINISHED")
                if self._split == "val":
                    self._record.reported.append(name)
            else:
                done = self._is_done_but_for_test(name)
                error = state.error or "its workers died without a message"
                self._tracker.tag(run, f"error-{self._split}" if done else "error", error)
                self._tracker.finish(run, "FINISHED" if done else "FAILED")
        parent = self._parent()
        if scores:
            self._tracker.summary(parent, report.metrics(scores.ensemble, prefix=self._split))
        for path in tables:
            self._tracker.artifact(parent, path)
        failed = any(s.state != FINISHED and not self._is_done_but_for_test(name) for name, s in states.items())
        self._tracker.finish(parent, "FAILED" if failed else "FINISHED")
        self._folder.write(self._record)

    def interrupt(self, status: str, reason: str) -> None:
        """End every open run as `status` (KILLED or FAILED), finished members as FINISHED; tag them with `reason`."""
        self._report_goodput(*self._names)
        for name in self._names:
            done = self._folder.member(name).state().state == FINISHED or self._is_done_but_for_test(name)
            if not done:
                self._tracker.tag(self._record.member_runs[name], "interrupted", reason)
            self._tracker.finish(self._record.member_runs[name], "FINISHED" if done else status)
        self._tracker.tag(self._parent(), "interrupted", reason)
        self._tracker.finish(self._parent(), status)
        with contextlib.suppress(OSError):  # where the disk is full, the changes are in experiment.jsonl
            self._folder.write(self._record)

    def _is_done_but_for_test(self, name: str) -> bool:
        """Whether only an evaluation on the test split has failed or was interrupted, after a finished training."""
        return self._split != "val" and self._folder.member(name).is_finished(1)

    def _report_goodput(self, *names: str) -> None:
        """Log how each member's wall time was spent, and why each of its attempts ended."""
        for name in names:
            if attempts := read_attempts(self._folder.member(name).path):
                run, found = self._record.member_runs[name], Goodput.of(attempts)
                self._tracker.log(run, found.attempts, found.metrics())
                self._tracker.tag(run, "attempts", found.newest_reasons)
                self._tracker.tag(run, DESCRIPTION, table(attempts))

    def close(self) -> int:
        """Wait for the delivery to MLflow; the number of entries still queued in the journal."""
        return self._tracker.close()

    def _parent(self) -> str:
        assert self._record.parent_run is not None
        return self._record.parent_run

    def _upload_probabilities(self, run: str, folder: Path) -> None:
        files = sorted(folder.iterdir())
        if sum(file.stat().st_size for file in files) > SMALL_ENOUGH_TO_UPLOAD:
            self._tracker.tag(run, folder.name, str(folder))
            return
        for file in files:
            self._tracker.artifact(run, file, folder.name)


def _params(config: Config) -> dict[str, Any]:
    """A config as parameters, without the split that is evaluated: later evaluations may use another split, and MLflow
    does not change a parameter. The prefix of the metrics tells the split."""
    params = asdict(config)
    del params["evaluation"]["split"]
    return params
