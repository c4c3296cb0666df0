"""Models of runs as MLflow's LoggedModels, each made once, whatever dies in between.

In: operations on a model, in order: new, its files, ready. Out: a model on MLflow's page, READY, linked to its run;
where MLflow takes none, the weights among the run's files.
"""

import logging
import tempfile
from pathlib import Path

import yaml
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus, Metric
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.uri import is_local_uri

from platform.text import first_line
from platform.tracking.mlflow_connection import refuses
from platform.tracking.mlflow_inputs import DIGEST_LENGTH
from platform.tracking.operations import ModelFile, ModelReady, NewModel

log = logging.getLogger("platform")
LINKED_FROM = 2**20  # bytes; programs and weights, which are written once and never changed
KEY_TAG = "platform.model"  # our key of a model, as a tag of it
MLMODEL = "MLmodel"


class NoModel(ValueError):
    """An operation on a model that MLflow refused to make."""


class Models:
    """The models of one experiment's runs. MLflow is asked by a tag which of them are there, and which are ready."""

    def __init__(self) -> None:
        self._ids: dict[str, str] = {}  # our key -> MLflow's id
        self._refused: set[str] = set()  # our keys; of these it was said

    def deliver(
        self, client: MlflowClient, experiment: str, run: str, operation: NewModel | ModelFile | ModelReady
    ) -> None:
        """Apply an operation. Where MLflow takes no such model, its run gets the weights as a file.

        Args:
            client: of MLflow.
            experiment: MLflow's id.
            run: MLflow's id.
            operation: on a model of this run.

        Raises:
            NoModel: there is no such model.
            Exception: whatever MLflow, requests and SQLAlchemy raise.
        """
        if operation.model in self._refused:
            return
        try:
            match operation:
                case NewModel():
                    self.make(client, experiment, run, operation)
                case ModelFile():
                    self.upload(client, experiment, run, operation)
                case ModelReady():
                    self.ready(client, experiment, run, operation)
        except MlflowException as error:
            if not _takes_none(client, run, error):
                raise
            if not isinstance(operation, NewModel):  # which an earlier process has delivered
                raise NoModel("MLflow takes no models") from error
            self._log_weights(client, run, operation, error)

    def _log_weights(self, client: MlflowClient, run: str, new: NewModel, error: MlflowException) -> None:
        instead = ""
        if new.weights:
            client.log_artifact(run, new.weights, "model")
            instead = f"; its run has {Path(new.weights).name} instead"
        log.warning("MLflow takes no model %s (%s)%s", new.name, first_line(error), instead)
        self._refused.add(new.model)

    def make(self, client: MlflowClient, experiment: str, run: str, new: NewModel) -> None:
        """Make a model in MLflow's experiment of this id, of MLflow's run of this id."""
        if self._find(client, experiment, new.model) is None:
            tags = new.tags | {KEY_TAG: new.model}
            made = client.create_logged_model(experiment, new.name, source_run_id=run, tags=tags)
            self._ids[new.model] = made.model_id

    def upload(self, client: MlflowClient, experiment: str, run: str, file: ModelFile) -> None:
        """Upload a file, unless the model is ready: then it has it. MLmodel gets MLflow's ids of the model and the run.
        Programs and weights become hard links where MLflow keeps files on the disk of the run.

        Raises:
            NoModel: there is no such model.
            FileNotFoundError: the file is gone.
        """
        model = self._known(client, experiment, file.model)
        if model.status == LoggedModelStatus.READY:
            return
        if Path(file.path).name != MLMODEL:
            if not linked(file, model.artifact_location):
                client.log_model_artifact(model.model_id, file.path, file.folder)
            return
        with tempfile.TemporaryDirectory(prefix="model-") as scratch:
            content = yaml.safe_load(Path(file.path).read_text())
            content |= {"model_id": model.model_id, "run_id": run, "artifact_path": model.artifact_location}
            (Path(scratch) / MLMODEL).write_text(yaml.safe_dump(content, default_flow_style=False, allow_unicode=True))
            client.log_model_artifact(model.model_id, str(Path(scratch) / MLMODEL), file.folder)

    def ready(self, client: MlflowClient, experiment: str, run: str, ready: ModelReady) -> None:
        """Have the model READY, with its scores and as an output of the run; what of this is there already stays.

        Raises:
            NoModel: there is no such model.
        """
        model = self._known(client, experiment, ready.model)
        linked = client.get_run(run).outputs
        if model.model_id not in [each.model_id for each in (linked.model_outputs if linked else [])]:
            client.log_outputs(run, [LoggedModelOutput(model.model_id, step=0)])
        there = {(metric.key, metric.value) for metric in model.metrics or []}
        name, digest = (ready.dataset[0], ready.dataset[1][:DIGEST_LENGTH]) if ready.dataset else (None, None)
        new = [
            Metric(key, value, ready.at_ms, 0, model.model_id, name, digest)
            for key, value in ready.scores.items()
            if (key, value) not in there
        ]
        if new:
            client.log_batch(run, metrics=new)
        if model.status != LoggedModelStatus.READY:
            client.finalize_logged_model(model.model_id, "READY")

    def _known(self, client: MlflowClient, experiment: str, key: str) -> LoggedModel:
        found = self._find(client, experiment, key)
        if found is None:
            raise NoModel("MLflow has no such model")
        return found

    def _find(self, client: MlflowClient, experiment: str, key: str) -> LoggedModel | None:
        """The model of our key, which an earlier process may have made."""
        if key not in self._ids:
            found = client.search_logged_models([experiment], f"tags.`{KEY_TAG}` = '{key}'", max_results=1)
            if not found:
                return None
            self._ids[key] = found[0].model_id
        return client.get_logged_model(self._ids[key])


def _takes_none(client: MlflowClient, run: str, error: MlflowException) -> bool:
    """Whether MLflow has refused an operation on a model of a run that it has. Servers before 3.0 know of no models,
    and answer as somebody else at this address would."""
    if not refuses(error) and error.error_code != "ENDPOINT_NOT_FOUND":
        return False
    try:
        return client.get_run(run).info.lifecycle_stage == "active"
    except MlflowException:
        return False


def linked(file: ModelFile, location: str) -> bool:
    """Whether a large file could be linked into a model's folder, so that the disk has it once."""
    if not is_local_uri(location) or Path(file.path).stat().st_size < LINKED_FROM:
        return False
    place = Path(local_file_uri_to_path(location), file.folder or "", Path(file.path).name)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)  # of an earlier try: MLflow would write into the very file, if it was linked
        place.hardlink_to(file.path)
    except OSError:  # another disk, or no links there
        return False
    return True
