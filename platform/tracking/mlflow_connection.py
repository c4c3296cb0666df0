"""The MLflow server or database of `tracking.uri`: connected to, its experiment found or made, its errors told apart.

In: the tracking settings. Out: a client, the id of the experiment, or one line that says what is wrong.
"""

import logging
import os
import uuid
from pathlib import Path
from urllib.parse import unquote

import mlflow
import requests
from mlflow.exceptions import MlflowException
from mlflow.store.db.utils import _initialize_tables as initialize_tables
from mlflow.store.db.utils import create_sqlalchemy_engine
from mlflow.tracking import MlflowClient
from sqlalchemy.exc import SQLAlchemyError

from platform.cluster.submission import database_file
from platform.config.checks import ConfigError, require
from platform.config.tracking import TrackingConfig
from platform.files import SUFFIX
from platform.redaction import unsealed, without_secrets
from platform.text import first_line
from platform.tracking.sqlite_store import deleted, moved
from platform.tracking.views import BEST

log = logging.getLogger("platform")
MODEL_TRAINING = "custom_model_development"  # kind of experiment whose MLflow page opens on runs, not on traces
AUTH_STATUSES = (401, 403, 407)  # the credentials are wrong, not the operation: retried until somebody mends them
RETRYABLE_STATUSES = (*AUTH_STATUSES, 408, 425, 429, 499)
PRIMARY_METRIC = {
    "mlflow.experiment.primaryMetric.name": BEST,
    "mlflow.experiment.primaryMetric.greaterIsBetter": "True",
}


class Unreachable(Exception):
    """No MLflow answers at the address, or its experiment cannot be used: no operation can be delivered."""


class NoRun(Exception):
    """An operation on a run that MLflow refused to make."""


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
        raise ConfigError(deleted(experiment.name, experiment.experiment_id))


def takes_account(tracking: TrackingConfig) -> bool:
    """Whether the server takes the account that MLflow finds, which may be in ~/.mlflow/credentials; also true of one
    that is away."""
    try:
        connect(tracking).get_experiment_by_name(tracking.experiment)
    except MlflowException as error:
        return error.get_http_status_code() not in AUTH_STATUSES
    except Exception as error:  # as in `deliver`
        log.debug("asking for an account: %s", first_line(error))
    return True


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


def experiment_id(client: MlflowClient, tracking: TrackingConfig) -> str:
    """MLflow's id of the experiment `tracking.experiment`, which is made where it is not there.

    Raises:
        Unreachable: it is deleted.
    """
    if experiment := client.get_experiment_by_name(tracking.experiment):
        if experiment.lifecycle_stage != "active":
            raise Unreachable(deleted(experiment.name, experiment.experiment_id))
        if file := database_file(tracking.uri):
            has_runs = bool(client.search_runs([experiment.experiment_id], max_results=1))
            if said := moved(file, experiment.name, str(experiment.artifact_location), has_runs=has_runs):
                log.warning("%s", said)
        for key, value in PRIMARY_METRIC.items():
            if key not in experiment.tags:
                client.set_experiment_tag(experiment.experiment_id, key, value)
        return experiment.experiment_id
    tags = PRIMARY_METRIC | {"mlflow.experimentKind": MODEL_TRAINING}
    return client.create_experiment(tracking.experiment, tags=tags)
