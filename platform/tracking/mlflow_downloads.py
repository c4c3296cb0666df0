"""Models of MLflow as folders of this machine.

In: an address, such as models:/NAME@champion. Out: a copy of the model's folder, of which nothing is unpickled.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import mlflow
from mlflow.artifacts import download_artifacts
from mlflow.exceptions import MlflowException

from platform.config.checks import ConfigError
from platform.config.tracking import TrackingConfig
from platform.redaction import redacted, unsealed, without_secrets
from platform.text import first_line


def download_model(key: str, address: str, tracking: TrackingConfig, folder: Path) -> Path:
    """Copy a model's folder.

    Args:
        key: of the setting that names it, for messages.
        address: models:/NAME@ALIAS, models:/NAME/VERSION, models:/ID or runs:/ID/PATH.
        tracking: where MLflow is, which has the registry, too.
        folder: to copy into.

    Raises:
        ConfigError: there is no such model, or no MLflow.
    """
    try:
        os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
        with _tracking_uri(unsealed(tracking.uri)):
            found = Path(download_artifacts(artifact_uri=address, dst_path=str(folder)))
    except (MlflowException, OSError) as error:
        raise ConfigError(
            f"{key} is {address}, which MLflow at tracking.uri={redacted(tracking.uri)} does not give "
            f"({first_line(error)}); check its name and alias, and tracking.uri"
        ) from without_secrets(error)
    if found.is_dir() and not any(found.iterdir()):  # MLflow copies what is not there without an error
        raise ConfigError(
            f"{key} is {address}, which MLflow at tracking.uri={redacted(tracking.uri)} knows, but its files are "
            "not where it looks for them; job=check says where that is if the project was moved"
        )
    return found


@contextlib.contextmanager
def _tracking_uri(uri: str) -> Iterator[None]:
    """MLflow finds models of the registry by its global tracking URI only, not by those that `download_artifacts` takes
    (seen in 3.17). Setting it puts it, with its password, into the environment: afterwards that is as before."""
    before = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(None)  # pyright: ignore[reportArgumentType]
        if before is not None:
            os.environ["MLFLOW_TRACKING_URI"] = before
