"""The MLflow runs of one experiment: a parent run, and a child run for each member or trial, for as long as it takes.

In: metrics while it runs, states and scores when a member or trial ends. Out: entries of the experiment's tracking
journal, which the tracker delivers. What a killed launcher has not reported, the next one reports.
"""

import contextlib
import logging
import time
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platform.config.experiment import Experiment
from platform.config.sections import Config
from platform.data.index import Index
from platform.evaluation.table import EnsembleScores
from platform.experiment.folder import ExperimentFolder, Record
from platform.experiment.goodput import read_attempts
from platform.experiment.member_folder import FINISHED, MemberState
from platform.experiment.origin import FILE as ORIGIN
from platform.text import first_line
from platform.tracking import parameters, run_tags, varied
from platform.tracking.ends import Ends
from platform.tracking.figures import datasets
from platform.tracking.journal import Journal
from platform.tracking.lineage import promotion
from platform.tracking.links import Pages, pages, view_key
from platform.tracking.operations import View
from platform.tracking.scorer import Scored, Scorer
from platform.tracking.tracker import Tracker, new_key

if TYPE_CHECKING:
    from platform.summary.summaries import Summaries

log = logging.getLogger("platform")
SHOWN_PARAMS = 5  # columns of the view


class Runs:
    """Open runs of an experiment; `report` or `interrupt` ends them, `close` ends the delivery."""

    def __init__(
        self,
        experiment: Experiment,
        folder: ExperimentFolder,
        record: Record,
        names: list[str],
        data: Index | None = None,
        *,
        held: bool = False,
    ) -> None:
        """Start or resume the parent's run; a member's starts with `begin`.

        Args:
            experiment: its config and members.
            folder: where the journal is.
            record: of the experiment; gets the keys of new runs.
            names: members that are not reported.
            data: what they read; None: not noted.
            held: MLflow gets nothing until `deliver`: its imports take as long as starting a member.
        """
        self._experiment, self._folder, self._record, self._data = experiment, folder, record, data
        self._names = list(names)  # of runs that are not ended
        self._members = [name for name in names if name in experiment.members]
        self._begun: set[str] = set()
        self._ended_at: dict[str, float] = {}  # seconds since the epoch
        self._steps: dict[str, int] = {}  # of a whole training
        self._split = experiment.config.evaluation.split
        self._reported = set(record.reported)  # a sweep has thousands of trials
        self._tracker = Tracker(experiment.config.tracking, Journal(folder.tracking), held=held)
        self._ends = Ends(self._tracker, experiment, folder, record, data)
        self._scorer = Scorer(experiment, folder)
        kind, is_new = run_tags.kind_of(experiment), record.parent_run is None
        record.parent_run = record.parent_run or new_key()
        gains = any(name in experiment.members and name not in record.member_runs for name in names)
        for name in names:  # a training of one network is one run; an earlier version made two
            alone = kind == run_tags.TRAINING
            record.member_runs.setdefault(name, record.parent_run if alone and is_new else new_key())
        self._is_single = record.parent_run in record.member_runs.values()
        folder.write(record)  # first: if this process dies, the next one resumes these runs
        self._start_parent()
        if (is_new or gains) and (origin := folder.path / ORIGIN).exists():
            self._tracker.artifact(record.parent_run, origin)
        self._end_left_open()

    def _start_parent(self) -> None:
        experiment, parent = self._experiment, self._parent()
        kind, config = run_tags.kind_of(experiment), experiment.config
        values = {
            run_tags.SWEEP: lambda: parameters.of_sweep(config),
            run_tags.TABLE: lambda: parameters.of_ensemble(config, experiment.members.values()),
            run_tags.ENSEMBLE: lambda: parameters.of_ensemble(config, experiment.members.values()),
            run_tags.TRAINING: lambda: parameters.parameters(config) | varied.of_member(experiment, experiment.name),
        }[kind]()
        tags = run_tags.of_parent(experiment, parent, self._data)
        self._tracker.start(experiment.name, _whole(config), again=parent, parameters=values, tags=tags)
        self._note_inputs(parent)
        if (promoted := promotion(experiment)) and (sweep := promoted.run()):
            self._tracker.promoted(parent, experiment.name, sweep.id)
        group = "" if kind == run_tags.SWEEP else parent
        shown = varied.columns(experiment)[:SHOWN_PARAMS]
        self._tracker.view(View(parent, self.view_key, experiment.name, shown, group, int(time.time() * 1000)))

    def _end_left_open(self) -> None:
        """A launcher that was killed left its members' runs RUNNING: they ended with their attempts, until they begin
        again."""
        for name in self._members:
            attempts, run = read_attempts(self._folder.member(name).path), self._record.member_runs[name]
            if attempts and run != self._parent():
                self._tracker.finish(run, "KILLED", at=attempts[-1].ended or None, if_running=True)

    @property
    def view_key(self) -> str:
        """Of the view of the runs, in the link."""
        return view_key(self._parent())

    @property
    def pages(self) -> Pages | None:
        """Where MLflow shows the runs; None: it has not got them yet."""
        found = self._tracker.delivered(self._parent())
        return pages(self._experiment.config.tracking, *found, self.view_key) if found else None

    @property
    def queued(self) -> int:
        """Number of entries that wait for MLflow."""
        return self._tracker.queued

    @property
    def are_delivered(self) -> bool:
        """Whether MLflow gets what there is, or is about to."""
        return self._tracker.is_delivered

    def deliver(self) -> None:
        """MLflow gets what there is from now on; returns at once."""
        self._tracker.deliver()

    def begin(self, name: str, at: float) -> None:
        """Start or resume the run of a member whose workers are at work; nothing if that is done.

        Args:
            name: of the member.
            at: since when, in seconds since the epoch.
        """
        if name in self._begun or name not in self._members:
            return
        config = self._experiment.members[name]
        number = list(self._experiment.members).index(name)
        values = parameters.parameters(config) | varied.of_member(self._experiment, name)
        self._start_child(name, config, values, number, at)

    def open(self, name: str, config: Config, params: dict[str, Any]) -> None:
        """Start or resume the run of a sweep's trial.

        Args:
            name: of the trial.
            config: its settings.
            params: more parameters, its values in the search space.
        """
        self._names.append(name)
        self._record.member_runs.setdefault(name, new_key())
        self._record.configs[name] = asdict(config)
        if name in self._reported:  # it failed in a launch before
            self._reported.remove(name)
            self._record.reported.remove(name)
        self._folder.note_run(self._record, name)
        values = varied.once(params, parameters.of_trial(config, self._experiment.config))
        self._start_child(name, config, values, len(self._record.member_runs) - 1)

    def _start_child(
        self, name: str, config: Config, values: parameters.Parameters, number: int, at: float | None = None
    ) -> None:
        self._begun.add(name)
        run, parent = self._record.member_runs[name], self._parent()
        if run == parent:
            self._log_kept(name)
            return
        tags = run_tags.of_child(self._experiment, config, parent, number, self._data)
        self._tracker.start(name, _whole(config), parent=parent, again=run, parameters=values, tags=tags, began=at)
        self._note_inputs(run)
        self._log_kept(name)

    def _note_inputs(self, run: str) -> None:
        if self._data:
            self._tracker.inputs(run, datasets(self._experiment.config, self._data, self._split))

    def log(self, name: str, step: int, metrics: dict[str, float], at: float) -> None:
        """Log metrics of a member at a global step; `at` is the time in seconds since the epoch."""
        self.begin(name, at)
        if progress := metrics.get("progress"):
            self._steps[name] = round(step / progress)
        self._tracker.log(self._record.member_runs[name], step, metrics, at, total=self._steps.get(name))

    def log_sums(self, metrics: dict[str, float], at: float) -> None:
        """Log what all members use together, at a time in seconds since the epoch. The run of a single training is also
        its parent's, and has what its workers use."""
        if not self._is_single:
            self._tracker.log(self._parent(), 0, metrics, at)

    def _log_kept(self, name: str) -> None:
        """Log the metrics that workers have kept while no launcher was alive; known points are left out."""
        for step, metrics, at in self._folder.member(name).metrics.take():
            self.log(name, step, metrics, at)

    def ended(self, name: str, at: float, said: str = "") -> None:
        """A member's workers have left it: its run ends as soon as it is scored, which another thread does.

        Args:
            name: of the member; of a sweep's trial only the time is noted, as `end` ends it.
            at: when, in seconds since the epoch.
            said: why it failed, by the worker that failed first: `state.json` may not have it yet.
        """
        self._ended_at[name] = at
        if name not in self._members or name not in self._names:
            return
        self.begin(name, at)  # it may have ended before its first heartbeat
        if self._is_finished(name):
            self._scorer.put(name)
        else:
            state = self._folder.member(name).state()
            self._end_failed(name, replace(state, error=said or state.error))

    def end_scored(self) -> None:
        """End the runs of the members that are scored; returns at once."""
        self._end_those(self._scorer.take())

    def finish_scoring(self) -> None:
        """Wait for the members that are being scored, and end their runs: nothing is read twice."""
        self._end_those(self._scorer.rest())

    def _end_those(self, members: Iterable[Scored]) -> None:
        for name, scores in members:
            if scores and name in self._names:  # without scores `report` has more to say
                try:
                    self._end_finished(name, scores)
                except Exception as error:  # of damaged files: the other members' training goes on
                    log.warning("the run of %s is ended later (%s)", name, first_line(error))

    def _is_finished(self, name: str) -> bool:
        return self._folder.member(name).is_finished(max(self._experiment.config.evaluation.views), self._split)

    def _end_finished(self, name: str, scores: EnsembleScores) -> None:
        """End the run of a member that is trained and evaluated, with its scores and files."""
        self._log_kept(name)
        self._ends.scores_and_files(name, scores)
        self._finish(name, "FINISHED")
        if self._split == "val":
            self._note_reported(name)

    def _end_failed(self, name: str, state: MemberState) -> None:
        """End the run of a member that is not finished, with the reason."""
        self._log_kept(name)
        done = self._is_done_but_for_test(name)
        error = state.error or "its workers died without a message"
        self._ends.spent(name, said=f"Failed: {error}. The same command tries it again.")
        self._tracker.tag(self._record.member_runs[name], f"error-{self._split}" if done else "error", error)
        self._finish(name, "FINISHED" if done else "FAILED")

    def _finish(self, name: str, status: str) -> None:
        """End a run as of when its workers left it."""
        ended = self._ended_at.pop(name, None) or self._folder.member(name).state().times.get("ended")
        self._names.remove(name)
        if (run := self._record.member_runs[name]) != self._parent():
            self._tracker.finish(run, status, at=ended)

    def end(
        self,
        name: str,
        status: str,
        tags: dict[str, str],
        figures: dict[str, float],
        *,
        scores: EnsembleScores | None = None,
        again: bool = False,
    ) -> None:
        """End the run of a sweep's trial.

        Args:
            name: of the trial.
            status: FINISHED, FAILED or KILLED.
            tags: of the run.
            figures: final metrics.
            scores: that they come from; None: there are none.
            again: the next launch reports it again.
        """
        self._log_kept(name)
        said = f"{tags.get('outcome', status)[:1].upper()}{tags.get('outcome', status)[1:]}"
        self._ends.spent(name, scores, f"{said}: {tags['reason']}." if "reason" in tags else f"{said}.")
        run = self._record.member_runs[name]
        for key, value in tags.items():
            self._tracker.tag(run, key, value)
        self._tracker.summary(run, figures)
        self._names.remove(name)
        self._tracker.finish(run, status, at=self._ended_at.pop(name, None))
        if not again:
            self._note_reported(name)

    def _note_reported(self, name: str) -> None:
        if name not in self._reported:
            self._reported.add(name)
            self._record.reported.append(name)
            self._folder.note_reported(name)

    def log_best(self, name: str) -> None:
        """Log the model of a sweep's best trial: on its run, and as an output of the sweep's."""
        _, scores = self._scorer.scored(name)
        if scores:
            self._ends.model_of_trial(name, scores)

    def close_sweep(self, status: str, figures: dict[str, float], files: list[Path], verdict: str) -> None:
        """End the parent run of a sweep whose trials have ended, with its figures and the files of its report. Its
        table begins with the verdict."""
        parent, has_table = self._parent(), any(file.name == "ranking.md" for file in files)
        self._tracker.summary(parent, figures)
        self._ends.whole(parent, None, files, "" if has_table else verdict)
        self._tracker.finish(parent, status)
        self._record.whole = True
        self._folder.write(self._record)

    def report(
        self,
        states: dict[str, MemberState],
        scores: EnsembleScores | None,
        tables: list[Path],
        networks: "Summaries | None" = None,
    ) -> None:
        """End every open run by its member's state, with scores and files.

        Args:
            states: of all members.
            scores: of the evaluation; None if there was none.
            tables: files of the experiment's folder for the parent run.
            networks: what the members' networks are made of; None: that is not told.
        """
        for name in list(self._names):
            state = states[name]
            self.begin(name, state.times.get("started", time.time()))
            if state.state == FINISHED and scores:
                self._end_finished(name, scores)
            else:
                self._end_failed(name, state)
        if networks:
            self._log_networks(networks)
        parent = self._parent()
        failed = {
            name: state.error or "its workers died without a message"
            for name, state in states.items()
            if state.state != FINISHED and not self._is_done_but_for_test(name)
        }
        said = "" if scores else "No member has finished."
        self._ends.whole(parent, scores, tables, said, failed)
        self._tracker.finish(parent, "FAILED" if failed else "FINISHED")
        if self._split == "val":
            self._record.whole = True
        self._folder.write(self._record)

    def _log_networks(self, networks: "Summaries") -> None:
        """The files on the parent run, and on each member's its parameters, multiply-adds and memory of activations."""
        for file in networks.files:
            self._tracker.artifact(self._parent(), file, networks.folder.name)
        for name in self._members:
            if figures := networks.figures.get(name):
                self._tracker.summary(self._record.member_runs[name], figures)

    def interrupt(self, status: str, reason: str) -> None:
        """End every open run as `status` (KILLED or FAILED), finished members as FINISHED; tag them with `reason`."""
        said = f"{'Interrupted' if status == 'KILLED' else 'Stopped by an error'}: {reason}. The same command goes on."
        for name in [name for name in self._names if name in self._begun]:
            done = self._folder.member(name).state().state == FINISHED or self._is_done_but_for_test(name)
            if not done:
                self._tracker.tag(self._record.member_runs[name], "interrupted", reason)
            self._ends.spent(name, said="" if done else said)
            run, ended = self._record.member_runs[name], self._ended_at.get(name)
            if run != self._parent():
                self._tracker.finish(run, "FINISHED" if done else status, at=ended if done else None)
        self._tracker.tag(self._parent(), "interrupted", reason)
        self._ends.whole(self._parent(), None, [], said)
        self._tracker.finish(self._parent(), status)
        with contextlib.suppress(OSError):  # where the disk is full, the changes are in experiment.jsonl
            self._folder.write(self._record)

    def _is_done_but_for_test(self, name: str) -> bool:
        """Whether only an evaluation on the test split has failed or was interrupted, after a finished training."""
        return self._split != "val" and self._folder.member(name).is_finished(1)

    def close(self) -> int:
        """Wait for the delivery to MLflow; the number of entries still queued in the journal."""
        return self._tracker.close()

    def _parent(self) -> str:
        assert self._record.parent_run is not None
        return self._record.parent_run


def _whole(config: Config) -> dict[str, Any]:
    """A config for `config.yaml`, without the split that is evaluated: later evaluations may use another one, and the
    file stays. The names of the metrics tell the split."""
    whole = asdict(config)
    del whole["evaluation"]["split"]
    return whole
