"""What MLflow knows of a run, to repeat it: the configs, what it was made with, and its final figures.

In: the id of a run, of an experiment's or of one member's. Out: a `Recorded`.
"""

import tempfile
import time
from pathlib import Path

import yaml
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from platform.config.checks import ConfigError, require, require_name
from platform.config.experiment import SINGLE
from platform.config.recorded import config_of
from platform.config.sections import Config
from platform.config.tracking import TrackingConfig
from platform.experiment.origin import FILE, UNKNOWN, Origin
from platform.experiment.recorded import Recorded
from platform.text import first_line
from platform.tracking.mlflow_connection import connect
from platform.tracking.run_tags import TRAINING

PARENT, COMMIT = "mlflow.parentRunId", "mlflow.source.git.commit"


def recorded_by(tracking: TrackingConfig, run_id: str) -> Recorded:
    """What MLflow has of a run and, if it is an experiment's, of its members.

    Raises:
        ConfigError: MLflow does not answer or has no such run, or the run was not made by this platform.
    """
    client = connect(tracking)
    try:
        run = client.get_run(run_id)
        whole = client.get_run(run.data.tags[PARENT]) if PARENT in run.data.tags else run
        if run.data.tags.get("kind") == TRAINING:
            members = {SINGLE: run}
        else:
            members = {_name(run): run} if whole is not run else _members(client, run)
        configs = {name: _config(client, each) for name, each in members.items()}
        origin = _origin(client, whole)
    except (MlflowException, OSError) as error:
        raise ConfigError(
            f"reproduce.run is {run_id}, which MLflow at {tracking.uri} does not give ({first_line(error)}); "
            "give the id of a run there, or runs/NAME"
        ) from error
    name = "-".join(dict.fromkeys([_name(whole), _name(run)]))
    figures = {member: dict(each.data.metrics) for member, each in members.items()}
    return Recorded(name, configs, origin.data or None, origin, figures=figures)


def _members(client: MlflowClient, parent: Run) -> dict[str, Run]:
    """The runs of an experiment's members by name.

    Raises:
        ConfigError: it has none.
    """
    found = client.search_runs([parent.info.experiment_id], f"tags.`{PARENT}` = '{parent.info.run_id}'")
    if not found:
        raise ConfigError(f"MLflow run {parent.info.run_id} has no members; give one that this platform has made")
    members = {_name(run): run for run in found}
    require(len(members) == len(found), f"MLflow run {parent.info.run_id} has members of the same name; give runs/NAME")
    return members


def _name(run: Run) -> str:
    """Its name, which becomes a folder's.

    Raises:
        ConfigError: it cannot.
    """
    name = run.info.run_name or SINGLE
    require_name(f"the name of MLflow run {run.info.run_id}", name)
    return name


def _config(client: MlflowClient, run: Run) -> Config:
    """The config of a member's run.

    Raises:
        ConfigError: this version cannot use it.
    """
    settings = yaml.safe_load(_artifact(client, run, "config.yaml"))
    try:
        return config_of(settings)
    except ConfigError as error:
        raise ConfigError(f"the config of run {run.info.run_id} ({_name(run)}): {error}") from error


def _origin(client: MlflowClient, run: Run) -> Origin:
    """What the run was made with; of one of an earlier version, what MLflow knows of that."""
    if FILE in {there.path for there in client.list_artifacts(run.info.run_id)}:
        return Origin.parsed(_artifact(client, run, FILE))
    return Origin(
        command="(not known)",
        began=time.strftime("%F %T %z", time.localtime(run.info.start_time / 1000)),
        host=UNKNOWN,
        commit=run.data.tags.get(COMMIT, UNKNOWN),
        python=UNKNOWN,
        packages=dict(line.split("==", 1) for line in _artifact(client, run, "environment.txt").splitlines()),
        cpu=UNKNOWN,
        gpus=[],
    )


def _artifact(client: MlflowClient, run: Run, name: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        return Path(client.download_artifacts(run.info.run_id, name, folder)).read_text()
