"""MLflow as a replica of the tracking journal: each operation applied to it, idempotently.

In: operations, in order. Out: runs on an MLflow server or in a database. The only module that imports MLflow, which
takes seconds: `tracker.py` imports it in its thread.
"""

import logging
import os
import uuid
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import mlflow
import requests
from mlflow.entities import Experiment, Metric, Param, RunStatus
from mlflow.exceptions import MlflowException
from mlflow.store.db.utils import _initialize_tables as initialize_tables
from mlflow.store.db.utils import create_sqlalchemy_engine
from mlflow.tracking import MlflowClient
from sqlalchemy.exc import SQLAlchemyError

from platform.cluster.submission import database_file
from platform.config.checks import ConfigError, require
from platform.config.sections import TrackingConfig
from platform.files import SUFFIX
from platform.redaction import redacted, unsealed, without_secrets
from platform.text import first_line
from platform.tracking.operations import Artifact, Finish, Metrics, Operation, Params, Start, Tag, Text

log = logging.getLogger("platform.tracking.tracker")
METRICS_PER_BATCH, PARAMS_PER_BATCH, PARAM_LENGTH, TAG_LENGTH = 1000, 100, 6000, 8000  # MLflow's limits
MODEL_TRAINING = "custom_model_development"  # kind of experiment whose MLflow page opens on runs, not on traces
KEY_TAG = "platform.run"  # our key of a run, as a tag of it
AUTH_STATUSES = (401, 403, 407)  # the credentials are wrong, not the operation: retried until somebody mends them
RETRYABLE_STATUSES = (*AUTH_STATUSES, 408, 425, 429, 499)


class Unreachable(Exception):
    """No MLflow answers at the address, or its experiment cannot be used: no operation can be delivered."""


class NoRun(Exception):
    """An operation on a run that MLflow refused to make."""


@dataclass
class DeliveredRun:
    """What MLflow has of one run."""

    id: str
    began: float  # seconds since the epoch
    newest: dict[str, int] = field(default_factory=dict)  # metric -> step of its newest point


class Replica:
    """The runs of one experiment on one MLflow server or database. Connects at the first operation."""

    def __init__(self, tracking: TrackingConfig, runs: dict[str, DeliveredRun]) -> None:
        self.runs = runs
        self._tracking = tracking
        self._client: MlflowClient | None = None
        self._experiment_id = ""
        self._opened: dict[str, list[Start | Params | Text]] = {}  # by this launch, to open a run anew
        self._compared: set[str] = set()  # runs whose `newest` MLflow has confirmed since the last failure

    def deliver(self, operations: list[Operation]) -> None:
        """Apply one operation, or several Metrics; a run that somebody has deleted in MLflow is made again.

        Raises:
            Exception: whatever MLflow, requests and SQLAlchemy raise; see `refuses`. Call again with the same.
        """
        client = self._connected()
        try:
            self._deliver(client, operations)
        except Exception as error:
            self._compared.clear()  # an operation without an answer may have been applied
            if not refuses(error):
                raise
            gone = {each.run for each in operations if each.run in self._opened and self._is_gone(client, each.run)}
            if not gone:
                raise
            for run in gone:
                for operation in list(self._opened[run]):
                    self._deliver(client, [operation])
            self._deliver(client, operations)

    def answers(self) -> bool:
        """Whether MLflow answers a plain request now."""
        try:
            self._connected().get_experiment(self._experiment_id)
        except Exception:  # as in `deliver`
            return False
        return True

    def _connected(self) -> MlflowClient:
        if self._client is None:
            try:
                client = connect(self._tracking)
                self._experiment_id = _experiment(client, self._tracking)
            except Exception as error:  # also refusals: nothing can be delivered without an experiment
                raise Unreachable(first_line(error)) from without_secrets(error)
            self._client = client
        return self._client

    def _deliver(self, client: MlflowClient, operations: list[Operation]) -> None:
        match operations[0]:
            case Start(run) as start:
                self._opened[run] = [start]
                self._start(client, start)
            case Params(run) as params:
                self._remember(params)
                self._log_params(client, params)
            case Text(run, path, text) as file:
                self._remember(file)
                if path not in {there.path for there in client.list_artifacts(self._id(run))}:
                    client.log_text(self._id(run), redacted(text), path)
            case Metrics():
                self._log(client, [each for each in operations if isinstance(each, Metrics)])
            case Tag(run, key, value):
                client.set_tag(self._id(run), key, _shortened(value, TAG_LENGTH))
            case Artifact(run, path, folder):
                client.log_artifact(self._id(run), path, folder)
            case Finish(run, status, at_ms, if_running):
                if not if_running or client.get_run(self._id(run)).info.status == "RUNNING":
                    client.set_terminated(self._id(run), status, at_ms)

    def _start(self, client: MlflowClient, start: Start) -> None:
        known = self.runs.get(start.run)
        if known and not self._is_gone(client, start.run):
            self._take_up(client, known.id)
            return
        if known:
            log.warning("MLflow run %s (%s) is gone; a new one takes its place", known.id, start.name)
            del self.runs[start.run]
        run_id = self._find(client, start.run) or self._create(client, start)
        self.runs[start.run] = DeliveredRun(run_id, start.began)

    def _remember(self, operation: Params | Text) -> None:
        opened = self._opened.get(operation.run, [])
        if operation not in opened:
            opened.append(operation)

    def _log_params(self, client: MlflowClient, operation: Params) -> None:
        run_id = self._id(operation.run)
        there = client.get_run(run_id).data.params
        params = [
            Param(key, _shortened(redacted(value), PARAM_LENGTH))
            for key, value in operation.values.items()
            if key not in there
        ]
        for begin in range(0, len(params), PARAMS_PER_BATCH):
            client.log_batch(run_id, params=params[begin : begin + PARAMS_PER_BATCH])

    def _is_gone(self, client: MlflowClient, run: str) -> bool:
        """Whether somebody has deleted a run that was there."""
        if run not in self.runs:
            return False
        try:
            return client.get_run(self.runs[run].id).info.lifecycle_stage != "active"
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return True
            raise

    def _take_up(self, client: MlflowClient, run_id: str) -> None:
        client.update_run(run_id, status=RunStatus.to_string(RunStatus.RUNNING))
        for tag in {"error", "interrupted"} & client.get_run(run_id).data.tags.keys():
            client.delete_tag(run_id, tag)

    def _find(self, client: MlflowClient, run: str) -> str | None:
        """The MLflow run that an earlier process has made, where it died before it noted its id."""
        found = client.search_runs([self._experiment_id], f"tags.`{KEY_TAG}` = '{run}'", max_results=1)
        return found[0].info.run_id if found else None

    def _create(self, client: MlflowClient, start: Start) -> str:
        tags = start.tags | {"mlflow.runName": start.name, KEY_TAG: start.run}
        tags |= {"mlflow.parentRunId": self._id(start.parent)} if start.parent else {}
        began_ms = int(start.began * 1000)
        return client.create_run(self._experiment_id, began_ms, tags, start.name).info.run_id

    def _log(self, client: MlflowClient, operations: list[Metrics]) -> None:
        by_run: dict[str, list[Metrics]] = defaultdict(list)
        for operation in operations:
            by_run[operation.run].append(operation)
        for run, messages in by_run.items():
            self._compare(client, run)
            newest = self.runs[run].newest
            points = [
                Metric(key, value, message.at_ms, step)
                for message in messages
                for key, value, step in message.points
                if message.summary or step > newest.get(key, -1)
            ]
            for begin in range(0, len(points), METRICS_PER_BATCH):
                batch = points[begin : begin + METRICS_PER_BATCH]
                client.log_batch(self.runs[run].id, metrics=batch)
                newest.update({point.key: max(point.step, newest.get(point.key, -1)) for point in batch})

    def _compare(self, client: MlflowClient, run: str) -> None:
        """Ask MLflow for the newest step of each metric: an earlier process, or a request whose answer was lost, may
        have written points. (MLflow keeps one of points with the same step, time and value, so summaries may repeat.)
        """
        run_id = self._id(run)
        if run not in self._compared:
            points = client.get_run(run_id).data._metric_objs  # MLflow's public view has no steps
            self.runs[run].newest = {point.key: point.step for point in points}
            self._compared.add(run)

    def _id(self, run: str) -> str:
        if run not in self.runs:
            raise NoRun("MLflow has no such run")
        return self.runs[run].id


def _shortened(value: str, limit: int) -> str:
    """Cut to what MLflow takes, with a note of the full length; `config.yaml` among the artifacts has all of it."""
    mark = f" ... ({len(value)} characters)"
    return value if len(value) <= limit else value[: limit - len(mark)] + mark


def ask(tracking: TrackingConfig) -> None:
    """Check that MLflow answers and that its experiment can be used.

    Raises:
        ConfigError: nothing answers at `tracking.uri`, or its experiment is deleted.
    """
    try:
        client = connect(tracking)
        experiment = client.get_experiment_by_name(tracking.experiment)
    except Exception as error:  # as in `deliver`
        reason = first_line(error)
        raise ConfigError(
            f"no MLflow at tracking.uri={tracking.uri} ({reason}); check it, or start one"
        ) from without_secrets(error)
    if experiment and experiment.lifecycle_stage != "active":
        raise ConfigError(_deleted(experiment))


def histories(tracking: TrackingConfig, run_id: str, keys: Iterable[str]) -> dict[str, list[tuple[int, float]]]:
    """The points (step, value) of a run's metrics, in the order of logging.

    Args:
        tracking: the server or database.
        run_id: MLflow's.
        keys: names of metrics.
    """
    client = connect(tracking)
    found = {key: client.get_metric_history(run_id, key) for key in keys}
    return {
        key: [(point.step, point.value) for point in sorted(points, key=lambda point: (point.timestamp, point.step))]
        for key, points in found.items()
    }


def statuses(tracking: TrackingConfig, run_ids: Iterable[str]) -> list[str]:
    """The MLflow status of each run: RUNNING, FINISHED, FAILED or KILLED."""
    client = connect(tracking)
    return [client.get_run(run_id).info.status for run_id in run_ids]


def connect(tracking: TrackingConfig) -> MlflowClient:
    """Make a client for `tracking.uri`, without retries of its own: the journal's reader retries.

    Raises:
        ConfigError: MLflow would read another path out of the URI.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # it would print into our table
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    _escape_own_folder()
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow").setLevel(logging.CRITICAL)  # what it logs it also raises, at every attempt
    _require_plain_path(tracking.uri)
    if (file := database_file(tracking.uri)) is not None:
        _make_database(file)
    return MlflowClient(unsealed(tracking.uri))


def _make_database(file: Path) -> None:
    """Make a new SQLite database as a whole or not at all.

    MLflow makes its tables one after another in the file itself; a process that is killed meanwhile leaves one that no
    MLflow can use any more ("table ... already exists", seen in 3.17). What cannot be made here is left to MLflow.
    """
    if file.exists() or not file.parent.is_dir():
        return
    unfinished = file.with_name(f"{file.name}.{uuid.uuid4().hex[:12]}{SUFFIX}")
    try:
        engine = create_sqlalchemy_engine(f"sqlite:///{unfinished}")
        initialize_tables(engine)
        engine.dispose()
        os.link(unfinished, file)  # unlike renaming it replaces no file that another process has made meanwhile
    except (OSError, MlflowException, SQLAlchemyError) as error:
        if not isinstance(error, FileExistsError):
            log.debug("%s is not made beside its place (%s)", file, first_line(error))
    finally:
        unfinished.unlink(missing_ok=True)


def _escape_own_folder() -> None:
    """Double the % in MLflow's folder, which it gives to alembic in a configuration where % is a reference."""
    folder = str(Path(mlflow.__file__).parent)
    if "%" in folder:
        from mlflow.store.db import utils

        utils._get_package_dir = lambda: folder.replace("%", "%%")


def _require_plain_path(uri: str) -> None:
    """Refuse a path with %, which MLflow unquotes.

    Raises:
        ConfigError: MLflow would write to another folder.
    """
    if uri.startswith("sqlite"):
        given = str(Path(uri.partition(":///")[2].partition("?")[0]).absolute())
        plain = unquote(given)
        require(given == plain, f"tracking.uri is {uri}: for {given} MLflow takes {plain}; give a path without %")


def refuses(error: BaseException) -> bool:
    """Whether an error is a refusal of this operation, by MLflow or a file, so that retrying is no use."""
    if isinstance(error, MlflowException):
        if error.error_code == "ENDPOINT_NOT_FOUND":  # another server answers at this address
            return False
        status = error.get_http_status_code()
    elif isinstance(error, requests.HTTPError) and error.response is not None:
        status = error.response.status_code
    else:
        missing = (NoRun, FileNotFoundError, IsADirectoryError, PermissionError, ValueError, TypeError)
        return isinstance(error, missing) and not isinstance(error, requests.RequestException)
    return 400 <= status < 500 and status not in RETRYABLE_STATUSES


def _experiment(client: MlflowClient, tracking: TrackingConfig) -> str:
    if experiment := client.get_experiment_by_name(tracking.experiment):
        if experiment.lifecycle_stage != "active":
            raise Unreachable(_deleted(experiment))
        if moved := _moved(client, experiment, tracking.uri):
            log.warning("%s", moved)
        return experiment.experiment_id
    return client.create_experiment(tracking.experiment, tags={"mlflow.experimentKind": MODEL_TRAINING})


def _deleted(experiment: Experiment) -> str:
    return (
        f"MLflow experiment {experiment.name} is deleted; restore it (mlflow experiments restore --experiment-id "
        f"{experiment.experiment_id}, or in its pages), or give another tracking.experiment"
    )


def _moved(client: MlflowClient, experiment: Experiment, uri: str) -> str | None:
    """A warning where a database was moved or copied: MLflow keeps the absolute path of its artifacts in it."""
    place = str(experiment.artifact_location)
    if not uri.startswith("sqlite") or "://" in place.removeprefix("file://"):
        return None
    noted = Path(unquote(place.removeprefix("file://")))
    database = Path(unquote(uri.partition(":///")[2].partition("?")[0])).absolute()
    beside = database.parent / noted.parent.name / noted.name  # where they are if both were moved with their folder
    if noted.exists() and (not beside.exists() or beside.samefile(noted)):
        return None
    if not beside.exists() and not client.search_runs([experiment.experiment_id], max_results=1):
        return None  # nothing was written yet
    there = f" ({beside} is not used)" if beside.exists() else ""
    return (
        f"the MLflow database {database} was moved: experiment {experiment.name} keeps its files in {noted}{there}, "
        f"where new ones go, too; move them back, put a link there (ln -s {beside} {noted}), "
        "or give another tracking.experiment"
    )
