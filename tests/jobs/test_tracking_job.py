"""Whole runs whose MLflow server is away: trained and reported later, by the same command."""

import os
import signal
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from platform.chaos.servers import MlflowServer
from platform.tracking.journal import Journal
from platform.tracking.tracker import mlflow_ids
from platform.training.checkpoints import newest_step
from tests.jobs.test_train_job import _wait
from tests.tracking.test_tracker import free_port

pytestmark = [pytest.mark.slow, pytest.mark.long]


def test_a_run_without_a_server_and_with_a_killed_launcher_arrives_later(launch, tmp_path: Path):
    server = MlflowServer(tmp_path)
    uri = server.url
    words = ["job=train", "name=alone", "training.epochs=2", "checkpoint.every_s=0.5", f"tracking.uri={uri}"]
    journal = tmp_path / "runs" / "alone" / "tracking.jsonl"
    process = launch.start(*words)
    _wait(lambda: newest_step(launch.member("alone", "model").checkpoints) > 0, process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert mlflow_ids(journal) == {}

    status, output = launch(*words)
    assert status == 1, output
    assert "359 validation images" in output
    assert output.count(f"MLflow at {uri} does not answer (") == 1
    waiting = Journal(journal).waiting
    assert f"{waiting} entries are queued for MLflow at {uri} in {journal}: the same command delivers them" in output

    with server:
        status, output = launch(*words)
        assert status == 0, output
        assert "nothing to train" in output
        assert f"{waiting} entries queued for MLflow at {uri} are delivered" in output
        client = MlflowClient(uri)
        ids = mlflow_ids(journal)
        assert {client.get_run(run).info.status for run in ids.values()} == {"FINISHED"}
        (member,) = ids.values()  # a training of one network is one run
        points = [point.step for point in client.get_metric_history(member, "progress")]
        assert points == sorted(set(points))
        assert client.get_run(member).data.metrics["progress"] == 1.0
        assert 0 <= client.get_run(member).data.metrics["accuracy_val_top1_10_views"] <= 1
        assert "weights.pt" in {Path(file.path).name for file in client.list_artifacts(member, "model")}

        status, output = launch(*words)
        assert status == 0
        assert "entries" not in output


@pytest.mark.endurance
def test_fresh_says_what_mlflow_never_got_and_required_stops_before_training(launch, tmp_path: Path):
    words = ["job=train", "name=required", "training.epochs=0.1", "evaluation.views=[1]"]
    away = f"tracking.uri=http://127.0.0.1:{free_port()}"
    status, output = launch(*words, away, "tracking.required=true")
    assert status == 2
    assert f"no MLflow at {away} (" in output
    assert len(output.strip().splitlines()) == 1, output
    assert not (tmp_path / "runs" / "required").exists()

    status, output = launch(*words, away)
    assert status == 1, output
    status, output = launch(*words, "fresh=true")
    assert status == 0, output
    assert "MLflow never got " in output
    assert "entries of the run before; they stay in " in output
