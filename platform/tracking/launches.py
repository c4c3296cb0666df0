"""What a launch does about MLflow before its runs begin and when they are over.

In: an experiment and its folder. Out: lines for the terminal: what waits for MLflow, and where its pages are.
"""

import logging

from platform.config.experiment import Experiment
from platform.config.tracking import TrackingConfig
from platform.evaluation import report
from platform.experiment.folder import ExperimentFolder
from platform.tracking.accounts import require_account
from platform.tracking.journal import Journal
from platform.tracking.links import pages_of
from platform.tracking.sqlite_store import require_usable
from platform.tracking.tracker import Tracker, require_answer

log = logging.getLogger("platform")


def check_tracking(tracking: TrackingConfig) -> None:
    """Check MLflow before anything is trained.

    Raises:
        ConfigError: its database cannot be used as it is, its server refuses the account, or nothing answers although
            `tracking.required`.
    """
    require_usable(tracking)
    require_account(tracking)
    if tracking.required:
        require_answer(tracking)


def end_runs_of_before(experiment: Experiment, folder: ExperimentFolder) -> None:
    """A launcher that was killed left MLflow runs RUNNING, and nobody will take them up now."""
    if folder.exists():
        tracker = Tracker(experiment.config.tracking, Journal(folder.tracking))
        record = folder.record()
        for run in [*record.member_runs.values(), *([record.parent_run] if record.parent_run else [])]:
            tracker.finish(run, "KILLED", if_running=True)
        if waiting := tracker.close():
            log.warning("MLflow never got %d entries of the run before; its %s has them", waiting, folder.tracking.name)


def deliver(experiment: Experiment, folder: ExperimentFolder) -> int:
    """Deliver what is queued in the tracking journal from earlier launches; returns the entries still queued."""
    journal = Journal(folder.tracking)
    before = journal.waiting
    if not before:
        return 0
    waiting = Tracker(experiment.config.tracking, journal).close()
    print(f"{before - waiting} entries queued for MLflow at {experiment.config.tracking.uri} are delivered")
    say_waiting(experiment, folder, waiting)
    return waiting


def say_waiting(experiment: Experiment, folder: ExperimentFolder, entries: int) -> None:
    """Say where metrics are queued for MLflow, and how they get there."""
    if entries:
        uri = experiment.config.tracking.uri
        print(
            f"{entries} entries are queued for MLflow at {uri} in {folder.tracking}: "
            "the same command delivers them when it is back, or with job=deliver, which needs no workers"
        )


def say_success(entries: int) -> None:
    """Say that a run is whole though MLflow, which is away, has not got `entries` of it."""
    if entries:
        print(
            f"MLflow    has not got {entries} entries, and all is trained and on disk: the exit status is 0; "
            "the same command with job=deliver brings them when it is back"
        )


def say_pages(experiment: Experiment) -> None:
    """The links to MLflow's pages, or how to start them where they have not got the runs."""
    if found := pages_of(experiment):
        print("\n".join([*found.lines("compare"), f"details   {found.parent}"]))
    else:
        print(f"compare   {report.mlflow_command(experiment.config.tracking)}")
