"""Ray: connect, see what there is, deal the members to lanes, and the mailbox workers report through."""

import logging
import os
import signal
import socket
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from platform.config import ClusterConfig, ConfigError

ROOT = Path(__file__).resolve().parent.parent
OBJECT_STORE_BYTES = 200_000_000  # reports are all that passes through it; shards are read by the workers
# Patterns as in .gitignore: without the slash, "data" would match platform/data too.
NOT_SHIPPED = ["/.venv", "/.git", "/data", "/runs", "/mlruns", "/mlartifacts", "/mlflow.db"]


@dataclass(frozen=True)
class Resources:
    """What the cluster has."""

    nodes: int
    cpus: int
    gpus: int


def connect(cluster: ClusterConfig) -> Resources:
    """Start a Ray on this machine, or join `cluster.address`; returns what it has.

    Raises:
        ConfigError: no cluster answers there.
    """
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "1")
    os.environ.setdefault("RAY_TRAIN_METRICS_ENABLED", "0")  # Prometheus gauges; MLflow has ours
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # no warning on machines without a GPU
    terminated = signal.getsignal(signal.SIGTERM)
    if cluster.address is None:
        _start_local(cluster)
    else:
        _join(cluster.address)
    if terminated is not signal.SIG_DFL and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, terminated)  # Ray has put its own handler in the place of the job's
    total = ray.cluster_resources()
    return Resources(len(ray.nodes()), int(total.get("CPU", 0)), int(total.get("GPU", 0)))


def _start_local(cluster: ClusterConfig) -> None:
    # Workers need this checkout ahead of the standard library when their interpreter starts: see platform/__init__.
    path = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *(part for part in path if part and part != str(ROOT))])
    ray.init(
        address="local",
        include_dashboard=cluster.dashboard,
        object_store_memory=OBJECT_STORE_BYTES,
        log_to_driver=False,  # workers' warnings come through the mailbox
        logging_level=logging.ERROR,
        configure_logging=True,
    )


def _join(address: str) -> None:
    try:
        host, _, port = address.rpartition(":")
        if host and port.isdigit() and "/" not in host:  # Ray itself would try for minutes
            socket.create_connection((host, int(port)), timeout=10).close()
        ray.init(
            address=address,
            runtime_env={"working_dir": str(ROOT), "excludes": NOT_SHIPPED},
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"no Ray cluster answers at cluster.address={address} ({reason}); check the address, or use cluster=local"
        ) from error


def disconnect() -> None:
    """Leave the cluster; a local one ends."""
    ray.shutdown()


def gpus_per_worker(cluster: ClusterConfig, resources: Resources) -> int:
    """What each worker gets.

    Raises:
        ConfigError: there are GPUs, but not one for each of the fewest workers.
    """
    if cluster.gpus_per_worker is None:
        if 0 < resources.gpus < cluster.min_workers:
            raise ConfigError(
                f"cluster.workers is {cluster.workers_text}, the cluster has {resources.gpus} GPU(s); "
                "lower it, or set cluster.gpus_per_worker=0 to train on processors"
            )
        return 1 if resources.gpus else 0
    return cluster.gpus_per_worker


def lane_count(cluster: ClusterConfig, resources: Resources, members: int) -> int:
    """Worker groups of the most workers that fit side by side, at most one a member. Where not even one fits, one of
    fewer: Ray Train gives the first group all there is, and others would only wait for it to end.

    Raises:
        ConfigError: not even one of the fewest workers fits.
    """
    gpus = gpus_per_worker(cluster, resources)
    fits = resources.cpus // cluster.cpus_per_worker
    if gpus:
        fits = min(fits, resources.gpus // gpus)
    if fits < cluster.min_workers:
        raise ConfigError(
            f"{cluster.min_workers} workers of {cluster.cpus_per_worker} CPUs and {gpus} GPUs do not fit into "
            f"{resources.cpus} CPUs and {resources.gpus} GPUs; "
            "lower cluster.workers, cluster.cpus_per_worker or cluster.gpus_per_worker"
        )
    return min(members, max(1, fits // cluster.max_workers), cluster.lanes or members)


def deal(costs: dict[str, float], lanes: int) -> list[list[str]]:
    """Members to lanes, so that the lanes end at about the same time: the dearest first, each to the emptiest lane."""
    loads = [0.0] * lanes
    dealt: list[list[str]] = [[] for _ in range(lanes)]
    for name in sorted(costs, key=lambda name: -costs[name]):
        lane = loads.index(min(loads))
        loads[lane] += costs[name]
        dealt[lane].append(name)
    return dealt


@dataclass(frozen=True)
class Message:
    """From a worker to the launcher."""

    member: str
    kind: str  # metrics, state, warning
    step: int = 0
    metrics: dict[str, float] | None = None
    text: str = ""
    time: float = 0.0  # seconds since the epoch


class Mailbox:
    """An actor that holds the workers' messages until the launcher fetches them: workers never wait for MLflow."""

    def __init__(self) -> None:
        self._messages: deque[Message] = deque()

    def put(self, message: Message) -> None:
        self._messages.append(message)

    def drain(self) -> list[Message]:
        messages = list(self._messages)
        self._messages.clear()
        return messages


def start_mailbox() -> Any:
    """On this node: if it dies, the launcher is gone anyway."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(Mailbox).options(num_cpus=0, scheduling_strategy=here).remote()


class Sender:
    """A worker's end of the mailbox. Never waits, never raises: a lost mailbox costs metrics, not the run."""

    def __init__(self, mailbox: Any, member: str) -> None:
        self._mailbox, self._member = mailbox, member

    def send(self, kind: str, *, step: int = 0, metrics: dict[str, float] | None = None, text: str = "") -> None:
        self._mailbox.put.remote(Message(self._member, kind, step, metrics, text, time.time()))


class WarningForwarder(logging.Handler):
    """Sends this process's warnings to the launcher, which prints them."""

    def __init__(self, sender: Sender) -> None:
        super().__init__(logging.WARNING)
        self._sender = sender

    def emit(self, record: logging.LogRecord) -> None:
        self._sender.send("warning", text=record.getMessage())
