"""MLflow as a replica of the tracking journal: each operation applied to it, idempotently.

In: operations, in order. Out: runs on an MLflow server or in a database. MLflow takes seconds to import: `tracker.py`
imports this module in its thread.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from mlflow.entities import Metric, Param, RunStatus
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from platform.config.tracking import TrackingConfig
from platform.redaction import redacted, without_secrets
from platform.text import first_line
from platform.tracking.mlflow_connection import NoRun, Unreachable, connect, experiment_id, refuses
from platform.tracking.mlflow_inputs import log_inputs
from platform.tracking.mlflow_lineage import DESCRIPTION, note_promoted, with_promoted
from platform.tracking.mlflow_models import Models
from platform.tracking.operations import (
    RUN_ID,
    Artifact,
    Finish,
    Inputs,
    Metrics,
    ModelFile,
    ModelReady,
    NewModel,
    Operation,
    Params,
    Promoted,
    Start,
    Tag,
    Text,
    View,
)
from platform.tracking.views import GROUP_TAG, tag

log = logging.getLogger("platform")
METRICS_PER_BATCH, PARAMS_PER_BATCH, PARAM_LENGTH, TAG_LENGTH = 1000, 100, 6000, 8000  # MLflow's limits
KEY_TAG = "platform.run"  # our key of a run, as a tag of it
NO_END = 0  # milliseconds since the epoch: MLflow and its page take it as no end at all


@dataclass
class DeliveredRun:
    """What MLflow has of one run."""

    id: str
    began: float  # seconds since the epoch
    newest: dict[str, int] = field(default_factory=dict)  # metric -> step of its newest point
    experiment: str = ""  # MLflow's id


class Replica:
    """The runs of one experiment on one MLflow server or database. Connects at the first operation."""

    def __init__(self, tracking: TrackingConfig, runs: dict[str, DeliveredRun]) -> None:
        self.runs = runs
        self._tracking = tracking
        self._client: MlflowClient | None = None
        self._models = Models()
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
                self._experiment_id = experiment_id(client, self._tracking)
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
                run_id = self._id(run)
                text = _shortened(value.replace(RUN_ID, run_id), TAG_LENGTH)
                client.set_tag(run_id, key, with_promoted(client, run_id, text) if key == DESCRIPTION else text)
            case Artifact(run, path, folder):
                client.log_artifact(self._id(run), path, folder)
            case Inputs(run, datasets):
                log_inputs(client, self._id(run), datasets)
            case Promoted(run, name, sweep):
                note_promoted(client, sweep, name, self._id(run))
            case View() as view:
                self._show(client, view)
            case NewModel(run) | ModelFile(run) | ModelReady(run) as of_model:
                self._models.deliver(client, self._experiment_id, self._id(run), of_model)
            case Finish(run, status, at_ms, if_running):
                if if_running and run not in self.runs:
                    return  # it never began
                if not if_running or client.get_run(self._id(run)).info.status == "RUNNING":
                    client.set_terminated(self._id(run), status, at_ms)
                self._opened.pop(run, None)  # of a sweep there are thousands, each with its whole config

    def _start(self, client: MlflowClient, start: Start) -> None:
        known = self.runs.get(start.run)
        if known and not self._is_gone(client, start.run):
            known.experiment = self._experiment_id
            self._take_up(client, known.id, start)
            return
        if known:
            log.warning("MLflow run %s (%s) is gone; a new one takes its place", known.id, start.name)
            del self.runs[start.run]
        run_id = self._find(client, start.run) or self._create(client, start)
        self.runs[start.run] = DeliveredRun(run_id, start.began, experiment=self._experiment_id)

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

    def _take_up(self, client: MlflowClient, run_id: str, start: Start) -> None:
        """It runs again: without the end that it had, whose duration the page would show, and without its error."""
        store = client._tracking_client.store  # the client itself cannot take an end back
        store.update_run_info(run_id, RunStatus.RUNNING, NO_END, None)
        there = client.get_run(run_id).data.tags
        for key in {"error", "interrupted"} & there.keys():
            client.delete_tag(run_id, key)
        for key in {GROUP_TAG} & start.tags.keys() - there.keys():  # an earlier version made the run
            client.set_tag(run_id, key, start.tags[key])

    def _show(self, client: MlflowClient, view: View) -> None:
        key, value = tag(view, self._id(view.run))
        client.set_experiment_tag(self._experiment_id, key, value)

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
