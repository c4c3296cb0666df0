"""MLflow, one writer: the launcher makes every run, one thread writes in batches and retries, no run stays RUNNING."""

import importlib.metadata
import logging
import os
import subprocess
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow.entities import Metric, Param, RunStatus
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from platform.config import ConfigError, TrackingConfig, first_line, flatten

log = logging.getLogger("platform.tracking")
METRICS_PER_BATCH, PARAMS_PER_BATCH, PARAM_LENGTH = 1000, 100, 6000  # MLflow's limits
GATHER_S = 0.2  # between batches, so that they are worth their transaction
MODEL_TRAINING = "custom_model_development"  # MLflow's word for it; its pages open on runs and charts, not on traces
GIVE_UP_AFTER_S = 60.0  # at the end, for a server that stays away


@dataclass(frozen=True)
class _Point:
    run: str
    metric: Metric


class Tracker:
    """The runs of one experiment on one MLflow server or database. Close it."""

    def __init__(self, tracking: TrackingConfig) -> None:
        """Connect and make the MLflow experiment.

        Raises:
            ConfigError: nothing answers at `tracking.uri`.
        """
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        logging.getLogger("alembic").setLevel(logging.WARNING)
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        self.uri = tracking.uri
        try:
            self._client = MlflowClient(tracking.uri)
            self._experiment_id = self._experiment(tracking.experiment)
        except Exception as error:  # MLflow raises what SQLAlchemy, requests and its own code raise
            reason = str(error).splitlines()[0]
            raise ConfigError(f"no MLflow at tracking.uri={tracking.uri} ({reason}); check it, or start one") from error
        self._points: deque[_Point] = deque()
        self._unwritten = 0  # points queued or being written
        self._changed = threading.Condition()  # guards the two above
        self._written_to: dict[tuple[str, str], int] = {}  # (run, metric) -> last step
        self._began: dict[str, float] = {}  # run -> seconds since the epoch
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._write, name="tracking", daemon=True)
        self._thread.start()

    def _experiment(self, name: str) -> str:
        experiment = self._client.get_experiment_by_name(name)
        if experiment:
            return experiment.experiment_id
        return self._client.create_experiment(name, tags={"mlflow.experimentKind": MODEL_TRAINING})

    def start(self, name: str, config: dict[str, Any], *, parent: str | None = None, again: str | None = None) -> str:
        """Make a run and return its id; with `again`, take up that run where it still exists."""
        if again and self._take_up(again):
            return again
        tags = {"mlflow.runName": name, "mlflow.source.name": "platform.launch", "mlflow.source.type": "LOCAL"}
        tags |= {"mlflow.user": os.environ.get("USER", "unknown")}
        tags |= {"mlflow.source.git.commit": commit} if (commit := git_commit()) else {}
        tags |= {"mlflow.parentRunId": parent} if parent else {}
        run = self._client.create_run(self._experiment_id, tags=tags, run_name=name).info.run_id
        self._began[run] = time.time()
        params = [Param(key, str(value)[:PARAM_LENGTH]) for key, value in flatten(config).items()]
        for start in range(0, len(params), PARAMS_PER_BATCH):
            self._client.log_batch(run, params=params[start : start + PARAMS_PER_BATCH])
        self._client.log_dict(run, config, "config.yaml")
        self._client.log_text(run, environment(), "environment.txt")
        return run

    def _take_up(self, run: str) -> bool:
        try:
            found = self._client.get_run(run)
            self._client.update_run(run, status=RunStatus.to_string(RunStatus.RUNNING))
            if "error" in found.data.tags:
                self._client.delete_tag(run, "error")
        except MlflowException:
            log.warning("MLflow run %s is gone; a new one takes its place", run)
            return False
        self._began[run] = found.info.start_time / 1000
        for metric in found.data._metric_objs:  # the newest point of each; MLflow's public view has no steps
            self._written_to[run, metric.key] = metric.step
        return True

    def log(self, run: str, step: int, metrics: dict[str, float], at: float | None = None) -> None:
        """Queue metrics. Points the run has already (a restarted member repeats steps) are left out; system metrics
        stand at the seconds since the run began."""
        at = at or time.time()
        for key, value in metrics.items():
            place = int(at - self._began.get(run, at)) if key.startswith("system/") else step
            if place > self._written_to.get((run, key), -1):
                self._written_to[run, key] = place
                self._put(run, Metric(key, float(value), int(at * 1000), place))

    def summary(self, run: str, metrics: dict[str, float]) -> None:
        """Final figures, written whether or not the run has earlier ones."""
        milliseconds = int(time.time() * 1000)
        for key, value in metrics.items():
            self._put(run, Metric(key, float(value), milliseconds, 0))

    def tag(self, run: str, key: str, value: str) -> None:
        self._client.set_tag(run, key, value)

    def artifact(self, run: str, path: Path, folder: str | None = None) -> None:
        self._client.log_artifact(run, str(path), folder)

    def finish(self, run: str, status: str) -> None:
        """End a run as FINISHED, FAILED or KILLED, its metrics written first."""
        self.flush()
        self._client.set_terminated(run, status)

    def flush(self) -> None:
        """Wait until everything queued is written, or the server has been away too long."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._unwritten == 0, timeout=GIVE_UP_AFTER_S):
                log.warning("%d metrics could not be written to %s", self._unwritten, self.uri)

    def close(self) -> None:
        self.flush()
        self._closing.set()
        with self._changed:
            self._changed.notify_all()
        self._thread.join(5)

    def _put(self, run: str, metric: Metric) -> None:
        with self._changed:
            self._points.append(_Point(run, metric))
            self._unwritten += 1
            self._changed.notify_all()

    def _write(self) -> None:
        """The writer: batches of what has come, retried with growing pauses while the server is away."""
        while not self._closing.is_set():
            with self._changed:
                self._changed.wait_for(lambda: self._points or self._closing.is_set())
            self._closing.wait(GATHER_S)
            batch = self._next_batch()
            pause = 1.0
            while batch and not self._closing.is_set():
                try:
                    self._client.log_batch(batch[0].run, metrics=[point.metric for point in batch])
                    break
                except Exception as error:  # as above; the run goes on and the batch is tried again
                    log.warning("MLflow at %s does not take metrics (%s); trying again", self.uri, first_line(error))
                    self._closing.wait(pause)
                    pause = min(pause * 2, 30)
            with self._changed:
                self._unwritten -= len(batch)
                self._changed.notify_all()

    def _next_batch(self) -> list[_Point]:
        """Queued points of one run, in order."""
        batch: list[_Point] = []
        with self._changed:
            while (
                self._points
                and len(batch) < METRICS_PER_BATCH
                and self._points[0].run == (batch or self._points)[0].run
            ):
                batch.append(self._points.popleft())
        return batch


def git_commit() -> str | None:
    """The checkout's commit, with "-dirty" where files differ from it."""
    try:
        command = [
            "git",
            "-C",
            str(Path(__file__).parent),
            "describe",
            "--always",
            "--dirty",
            "--abbrev=40",
            "--exclude=*",
        ]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None


def environment() -> str:
    """The installed distributions, as a constraints file."""
    found = {f"{dist.metadata['Name']}=={dist.version}" for dist in importlib.metadata.distributions()}
    return "\n".join(sorted(found, key=str.lower)) + "\n"
