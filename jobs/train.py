"""`job=train`: one member on the cluster; `ensemble` runs its members through the same `run_members`.

In: an experiment. Out: each member's weights and probabilities on disk, its run in MLflow, progress on the terminal.
"""

import logging
import shutil
import sys
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from jobs.pack import prepare_data
from jobs.register import register_at_end
from platform.cluster.preparation import disconnect, prepare
from platform.cluster.runtime_env import fork_server
from platform.config.checks import CannotGoOn, ConfigError, stopped
from platform.config.cluster import ClusterConfig
from platform.config.experiment import Experiment
from platform.console import duration
from platform.data.index import Index
from platform.evaluation import report
from platform.evaluation.kept import kept_scores
from platform.evaluation.table import EnsembleScores, with_table
from platform.experiment.destinations import require_copies
from platform.experiment.disk_use import disk_use
from platform.experiment.folder import ExperimentFolder, Record
from platform.experiment.fresh import same_command
from platform.experiment.member_folder import FAILED, FINISHED, MemberState
from platform.experiment.methods import methods_of
from platform.experiment.plan import Plan, plan
from platform.experiment.run_logs import keep_logs
from platform.experiment.teacher import TEACHING, Teacher, with_teacher
from platform.export.experiment import export_experiment
from platform.export.folder import MODEL
from platform.lanes.attempts import Attempts
from platform.lanes.console import Console
from platform.lanes.monitor import exported
from platform.marks import mark
from platform.report.artifacts import report_page, write_report
from platform.signals import INTERRUPTED, Interrupted, signals
from platform.summary.summaries import Summaries
from platform.text import first_line
from platform.tracking.launches import check_tracking, deliver, end_runs_of_before, say_pages, say_success, say_waiting
from platform.tracking.models import log_missing
from platform.tracking.runs import Runs
from platform.weights.initial import read_initial_weights

if TYPE_CHECKING:
    from platform.cluster.resources import Resources
    from platform.evaluation.blocks import Part, Task

log = logging.getLogger("platform")


@dataclass
class Outcome:
    """What became of the members."""

    states: dict[str, MemberState]
    scores: EnsembleScores | None = None  # of the finished ones
    seconds: float = 0.0
    trained_now: list[str] = field(default_factory=list)
    waiting: int = 0  # entries of the tracking journal that MLflow did not get

    @property
    def failed(self) -> list[str]:
        return [name for name, state in self.states.items() if state.state != FINISHED]


def run(experiment: Experiment, *, evaluate_again: bool = False) -> int:
    """Train and evaluate every member, score the ensemble and show the table.

    Args:
        experiment: what the launcher composed.
        evaluate_again: have trained members evaluated again; nothing is trained.

    Returns:
        the exit code: 0 if every member finished, also where MLflow is away and its metrics wait in the journal (a
        cluster made for these alone would be wasted); 1 if not, 130 if interrupted.

    Raises:
        ConfigError: the experiment cannot be run as it is configured.
    """
    begin = read_initial_weights(experiment)
    experiment = with_teacher(begin.experiment)
    planned = plan(experiment)
    if not evaluate_again:
        require_copies(experiment)
    check_tracking(experiment.config.tracking)
    mark("planned")
    folder = ExperimentFolder(experiment.folder)
    if evaluate_again:
        _require_trained(folder, planned)
    started = time.monotonic()
    try:
        with signals(Interrupted), folder.held(experiment.config.cluster.lock_within_s), keep_logs(experiment):
            if experiment.config.fresh or _unfinished(folder, planned):
                prepare(experiment.config.cluster)
            if experiment.config.fresh:
                end_runs_of_before(experiment, folder)
            data = prepare_data(experiment.config, planned.index)
            if not planned.packed:  # now there are shards, without the images that cannot be read and those dropped
                planned = plan(experiment)
            if experiment.config.distill.teacher and experiment.config.job in TEACHING:
                Teacher.of(experiment.config).require_data(data)
            record = folder.open(experiment, data)
            for line in begin.keep(folder, data):
                print(line)
            if evaluate_again:
                _forget_evaluations(folder, record, planned)
            _give_new_attempts(folder, planned)
            unfinished = _unfinished(folder, planned)
            if experiment.config.evaluation.split == "val":  # of which the record is
                record.reported = [name for name in record.reported if name not in unfinished]
            unreported = [name for name in experiment.members if evaluate_again or name not in record.reported]
            if experiment.config.evaluation.split == "val":
                record.whole = record.whole and not unreported
            if not unfinished:
                print(f"{experiment.name}: every member is finished; nothing to train (fresh=true trains anew)")
            if unreported or not record.whole:  # a launcher may have died between the last member's end and its own
                outcome = _run_and_report(planned, folder, record, data, unfinished, unreported)
            else:
                outcome = _make_up(planned, folder, record, data)
            outcome.trained_now, outcome.seconds = unfinished, time.monotonic() - started
            show(experiment, outcome)
            whole = not outcome.failed
            if whole:
                say_success(outcome.waiting)
            registered = register_at_end(experiment, whole=whole, waiting=outcome.waiting)
            return 0 if registered and whole else 1
    except Interrupted as interrupted:
        print(f"\n{interrupted}: {same_command(experiment)} goes on from the newest checkpoints")
        return INTERRUPTED
    except (CannotGoOn, OSError) as error:
        print(stopped(error), file=sys.stderr)
        return 1
    finally:
        disconnect()


def _make_up(planned: Plan, folder: ExperimentFolder, record: Record, data: Index) -> Outcome:
    """Of an experiment that is over: what MLflow has not got yet, and models that are missing."""
    experiment = planned.experiment
    outcome = _outcome_with_models(planned, folder, data)
    outcome.waiting = deliver(experiment, folder)
    if outcome.scores and not outcome.waiting:
        outcome.waiting = log_missing(experiment.config, folder, record, outcome.scores, data) or 0
        say_waiting(experiment, folder, outcome.waiting)
    return outcome


def _run_and_report(
    planned: Plan, folder: ExperimentFolder, record: Record, data: Index, unfinished: list[str], unreported: list[str]
) -> Outcome:
    """Run the unfinished members, write the table, tell MLflow.

    Raises:
        Interrupted: by a signal, with every run closed as what it was.
    """
    runs = Runs(planned.experiment, folder, record, unreported, data, held=bool(unfinished))
    summaries = Summaries(planned.experiment.members, folder.path / "summary")
    try:
        if unfinished:
            run_members(planned, folder, record, unfinished, runs, summaries)
        outcome = _outcome_with_models(planned, folder, data)
        split = planned.experiment.config.evaluation.split
        tables = report.write(outcome.scores, folder.path, split) if outcome.scores else []
        summaries.wait()  # the report has them, too
        tables += write_report(planned.experiment, folder, outcome.scores, split)
        runs.report(outcome.states, outcome.scores, tables, summaries)
    except BaseException as error:
        runs.interrupt("KILLED" if isinstance(error, Interrupted) else "FAILED", first_line(error))
        say_waiting(planned.experiment, folder, runs.close())
        raise
    outcome.waiting = runs.close()
    say_waiting(planned.experiment, folder, outcome.waiting)
    return outcome


def _outcome_with_models(planned: Plan, folder: ExperimentFolder, data: Index) -> Outcome:
    """Make the models that are missing, of members and the ensemble, unless `export.models` is false. Checkpoints of
    an earlier launch go, if they should not be kept."""
    outcome, experiment = _outcome(folder, planned), planned.experiment
    finished = [name for name, state in outcome.states.items() if state.state == FINISHED]
    if experiment.config.export.models:
        configs = {name: experiment.members[name] for name in finished}
        export_experiment(configs, folder, data, together=not experiment.config.table.has_rows)
    if not experiment.config.checkpoint.keep_finished:
        for name in finished:
            folder.member(name).remove_checkpoints()
    return outcome


def run_members(
    planned: Plan, folder: ExperimentFolder, record: Record, names: list[str], runs: Runs, summaries: Summaries
) -> None:
    """Run members in lanes; returns when all of them have ended one way or another.

    Raises:
        Interrupted: by a signal, after a last checkpoint.
        CannotGoOn: with what every attempt would meet again.
    """
    from platform.cluster.connect import connect, require_processes

    config, attempts = planned.experiment.config, Attempts(folder, names)
    monitor, endpoint = exported(planned.experiment, attempts, folder, list(planned.experiment.members))
    try:
        resources = connect(config.cluster, asks=False)
        from platform.lanes.follower import Follower
        from platform.lanes.growth import Growth
        from platform.lanes.launcher import Lanes

        lanes = Lanes(planned, folder, record, names, resources)
        require_processes(lanes.mailbox.claims.remote())
        with Console(planned, names, lanes.count) as console:
            console.say(_headline(planned.experiment, names, lanes.count, resources))
            for team in lanes.fused:
                console.say(f"trained together, each within rounding as by itself: {', '.join(team)}")
            endpoint.say(console.say)
            stall_s, growth = config.cluster.stall_timeout_s, Growth(lanes.grow, config.cluster, console.say)

            def after() -> None:
                growth.look()
                if runs.are_delivered:  # members train: the launcher has nothing else to compute
                    summaries.start()

            follower = Follower(lanes.mailbox, folder.live, stall_s, runs, console, attempts, monitor, after=after)
            try:
                follower.follow(lanes.futures)
                runs.finish_scoring()
            except Interrupted:
                console.say("saving ...")
                follower.save(config.checkpoint.grace_s)
                raise
        attempts.close("its workers ended")
    except BaseException as error:
        attempts.close(first_line(error))
        raise
    finally:
        endpoint.close()
        disconnect()
        shutil.rmtree(folder.path / "ray", ignore_errors=True)  # Ray Train's own notes; ours are beside it
        folder.live.unlink(missing_ok=True)


def _require_trained(folder: ExperimentFolder, planned: Plan) -> None:
    """Refuse to evaluate what is not trained.

    Raises:
        ConfigError: a member has no trained weights.
    """
    untrained = [member.name for member in planned.members if not folder.member(member.name).is_trained()]
    if untrained:
        raise ConfigError(f"{folder.name} has no trained weights of {', '.join(untrained)}; train them first")


def _forget_evaluations(folder: ExperimentFolder, record: Record, planned: Plan) -> None:
    """Have trained members evaluated and reported again."""
    split = planned.experiment.config.evaluation.split
    for member in planned.members:
        folder.member(member.name).forget_evaluation(split)
    if split == "val":
        record.reported = []


def _give_new_attempts(folder: ExperimentFolder, planned: Plan) -> None:
    """A new launch gives every unfinished member new attempts."""
    for name in _unfinished(folder, planned):
        folder.member(name).set_state(MemberState(error=folder.member(name).state().error))


def _unfinished(folder: ExperimentFolder, planned: Plan) -> list[str]:
    wanted = planned.experiment.config.evaluation
    return [
        member.name
        for member in planned.members
        if not folder.member(member.name).is_finished(max(wanted.views), wanted.split)
    ]


def _outcome(folder: ExperimentFolder, planned: Plan) -> Outcome:
    """Read from disk what became of the members, and score the finished ones, or read the scores that were kept.

    Raises:
        ConfigError: probabilities are damaged.
    """
    states = {member.name: folder.member(member.name).state() for member in planned.members}
    view_counts, split = planned.experiment.config.evaluation.views, planned.experiment.config.evaluation.split
    finished = {
        name: folder.member(name).probabilities_of(split)
        for name in states
        if folder.member(name).is_finished(max(view_counts), split)
    }
    for name, state in states.items():  # the files decide: a kill may have come before the state was written
        state.state = FINISHED if name in finished else FAILED
    if not finished:
        return Outcome(states)
    cluster = planned.experiment.config.cluster
    spread = None if cluster.address is None else partial(_score_on_cluster, cluster)
    scores = kept_scores(finished, view_counts, folder.scores(split), images_file=folder.images(split), spread=spread)
    scores = with_table(scores, planned.experiment.config.table, list(states), folder.images(split))
    scores.methods = methods_of(folder, finished, planned.experiment.config)
    return Outcome(states, scores)


def _score_on_cluster(cluster: ClusterConfig, tasks: "list[Task]") -> "Iterator[list[Part]]":
    from platform.lanes.scoring import on_cluster  # Ray takes seconds to import

    return on_cluster(cluster, tasks)


def scores_of(experiment: Experiment) -> EnsembleScores:
    """The scores of an experiment whose members are all finished.

    Raises:
        ConfigError: not all are, or probabilities are damaged.
    """
    outcome = _outcome(ExperimentFolder(experiment.folder), plan(experiment))
    if outcome.failed or not outcome.scores:
        raise ConfigError(f"{experiment.folder} is not finished; run it first")
    return outcome.scores


def show(experiment: Experiment, outcome: Outcome) -> None:
    """The table, what failed, and where to look."""
    print()
    if outcome.scores:
        print(report.terminal_table(outcome.scores, experiment.config.evaluation.split))
    for name in outcome.failed:
        print(f"member {name} failed: {outcome.states[name].error or 'its workers died without a message'}")
    if outcome.failed:
        left = len(outcome.states) - len(outcome.failed)
        print(f"{left} of {len(outcome.states)} members finished; the same command tries the others again")
    if outcome.trained_now:
        print(f"\n{_of_all(outcome.trained_now, outcome.states)} in {duration(outcome.seconds)}")
    print(f"results   {experiment.folder}  ({disk_use(experiment.folder)})")
    if (model := experiment.folder / MODEL).exists():
        print(f"model     {model}")
    if (page := report_page(experiment.folder, experiment.config.evaluation.split)).exists():
        print(f"report    {page}")
    say_pages(experiment)


def _of_all(names: Collection[str], members: Collection[str]) -> str:
    """How many members these are, and of how many where others were finished before."""
    return f"{len(names)} of {len(members)} members" if len(names) < len(members) else f"{len(names)} member(s)"


def _headline(experiment: Experiment, names: list[str], lanes: int, resources: "Resources") -> str:
    now = " so far" if experiment.config.cluster.autoscaled else ""
    return (
        f"{experiment.name}: {_of_all(names, experiment.members)} in {lanes} lane(s) on {resources.nodes} node(s), "
        f"{resources.cpus} CPUs, {resources.gpus} GPUs{now}; fork server {fork_server(experiment.config.cluster)}"
    )
