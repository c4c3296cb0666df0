"""`tracking`: where MLflow is, and where Prometheus finds the launcher."""

import importlib.metadata
import re
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


def is_listening_address(text: str) -> bool:
    """Whether it is HOST:PORT, with an address of IPv6 in brackets; port 0 is a free one."""
    found = re.fullmatch(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]):(\d{1,5})", text, re.ASCII)
    return found is not None and int(found[2]) < 2**16


@dataclass
class TrackingConfig:
    """The MLflow server or database, and what Prometheus is told."""

    uri: str = "sqlite:///mlflow.db"  # sqlite:///FILE, http://HOST:PORT, or any that MLflow takes
    experiment: str = "platform"  # MLflow's: the runs of all our experiments are in it
    system_metrics_every_s: float = 10.0  # CPU, memory, disk, network and GPU of every worker and its node
    # HOST:PORT at which the launcher answers Prometheus (GET /metrics), as 127.0.0.1:9464, or 0.0.0.0:9464 for other
    # machines; port 0: a free one, which it prints. None: it does not. On Kubernetes: cluster.kube.metrics
    prometheus_address: str | None = None
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
        address = self.prometheus_address
        require(
            address is None or is_listening_address(address),
            f"tracking.prometheus_address is {address!r}; give HOST:PORT, as 127.0.0.1:9464",
        )
        every = self.system_metrics_every_s
        require(every > 0, f"tracking.system_metrics_every_s is {every}; give more than 0")
