"""Whole runs through the real command line, small: narrow networks, few steps, few views."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from platform.checkout import ROOT
from platform.config.data import DataConfig
from platform.experiment.goodput import Attempt, read_attempts
from platform.experiment.member_folder import MemberFolder, MemberState
from platform.tracking.tracker import mlflow_ids
from tests.launching import launched

SMALL = ["model.width=0.25", "training.epochs=1", "evaluation.views=[1,10]", "training.precision=float32"]
SMALL += ["export.models=false"]  # but where a test is about them


@dataclass
class Runner:
    """Launches experiments into a temporary folder."""

    folder: Path
    shards: str

    def words(self, *words: str) -> list[str]:
        places = [f"data.shards={self.shards}", f"output_dir={self.folder / 'runs'}", f"tracking.uri={self.uri}"]
        return [sys.executable, "-m", "platform.launch", *SMALL, *places, *words]

    def start(self, *words: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})}
        return subprocess.Popen(
            self.words(*words), cwd=ROOT, env=environment, text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def __call__(self, *words: str, environment: Mapping[str, str] | None = None) -> tuple[int, str]:
        process = self.start(*words, environment=environment)
        output, _ = process.communicate(timeout=1800)
        assert "without the fork server" not in output
        return process.returncode, output

    def bare(self, *words: str, environment: Mapping[str, str] | None = None) -> tuple[int, str]:
        """Just these words, without the small network and the places."""
        command, environment = [sys.executable, "-m", "platform.launch", *words], os.environ | (environment or {})
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1800)
        return done.returncode, done.stdout + done.stderr

    def here(self, *words: str) -> tuple[int, str]:
        """In this process, for what starts no Ray: the second that a command takes to import everything is saved."""
        done = launched(*self.words(*words)[3:])
        return done.returncode, done.stdout + done.stderr

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.folder / 'mlflow.db'}"

    def member(self, experiment: str, name: str) -> MemberFolder:
        return MemberFolder(self.folder / "runs" / experiment / "members" / name)

    def state(self, experiment: str, name: str) -> MemberState:
        return self.member(experiment, name).state()

    def attempts(self, experiment: str, name: str) -> list[Attempt]:
        return read_attempts(self.member(experiment, name).path)

    def runs(self, experiment: str) -> dict[str, Run]:
        """The experiment's MLflow runs by name."""
        record = json.loads((self.folder / "runs" / experiment / "experiment.json").read_text())
        ids = mlflow_ids(self.folder / "runs" / experiment / "tracking.jsonl")
        keys = record["member_runs"] | {"parent": record["parent_run"]}
        return {name: MlflowClient(self.uri).get_run(ids[key]) for name, key in keys.items()}


@pytest.fixture
def launch(tmp_path: Path, digits_data: DataConfig) -> Runner:
    return Runner(tmp_path, digits_data.shards)
