"""Models of MLflow as folders of this machine.

In: an address, such as models:/NAME@champion. Out: a copy of the model's folder, of which nothing is unpickled.
"""

import os
from pathlib import Path

from mlflow.artifacts import download_artifacts
from mlflow.exceptions import MlflowException

from platform.config.checks import ConfigError
from platform.config.sections import TrackingConfig
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
        uri = unsealed(tracking.uri)  # handed over: mlflow.set_tracking_uri would put it into the environment
        return Path(download_artifacts(address, dst_path=str(folder), tracking_uri=uri, registry_uri=uri))
    except (MlflowException, OSError) as error:
        raise ConfigError(
            f"{key} is {address}, which MLflow at tracking.uri={redacted(tracking.uri)} does not give "
            f"({first_line(error)}); check its name and alias, and tracking.uri"
        ) from without_secrets(error)
