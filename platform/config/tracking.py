"""`tracking`: where MLflow is."""

import importlib.metadata
from dataclasses import dataclass

from platform.config.checks import (
    require,
    require_address,
    seal,
)

MLFLOW_SCHEMES = (
    "http",
    "https",
    "sqlite",
    "postgresql",
    "mysql",
    "mssql",
    "file",
    "databricks",
    "databricks-uc",
    "uc",
)


def _mlflow_plugins() -> list[str]:
    return [each.name for each in importlib.metadata.entry_points(group="mlflow.tracking_store")]


@dataclass
class TrackingConfig:
    """The MLflow server or database."""

    uri: str = "sqlite:///mlflow.db"  # sqlite:///FILE, http://HOST:PORT, or any that MLflow takes
    experiment: str = "platform"  # MLflow's: the runs of all our experiments are in it
    system_metrics_every_s: float = 10.0  # CPU, memory, disk, network and GPU of every worker and its node
    required: bool = False  # where MLflow does not answer, true: stop before training; false: queue metrics in a file

    def __post_init__(self) -> None:
        seal(self, "tracking.")
        require(bool(self.uri), "tracking.uri is empty; give sqlite:///FILE or http://HOST:PORT")
        scheme, found, _ = self.uri.partition("://")
        known = scheme.partition("+")[0] in MLFLOW_SCHEMES  # postgresql+psycopg2
        require(
            not found or known or scheme in _mlflow_plugins(),
            f"tracking.uri is {self.uri!r}; give sqlite:///FILE or http://HOST:PORT",
        )
        require_address("tracking.uri", self.uri)
        every = self.system_metrics_every_s
        require(every > 0, f"tracking.system_metrics_every_s is {every}; give more than 0")
