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
    assert status == 0, output  # all is trained: no cluster is made for the metrics' sake
    assert "359 validation images" in output
    assert output.count(f"MLflow at {uri} does not answer (") == 1
    waiting = Journal(journal).waiting
    assert f"{waiting} entries are queued for MLflow at {uri} in {journal}: the same command delivers them" in output

    assert f"MLflow    has not got {waiting} entries, and all is trained and on disk: the exit status is 0" in output

    status, output = launch(*words, "job=deliver")
    assert status == 1, output
    assert Journal(journal).waiting == waiting

    with server:
        status, output = launch(*words, "job=deliver")
        assert status == 0, output
        assert f"{waiting} entries queued for MLflow at {uri} are delivered" in output
        assert "nothing is queued for MLflow" in output
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
        assert "nothing to train" in output
        assert "entries" not in output


def test_the_same_command_delivers_too_and_a_run_that_failed_stays_one_that_failed(launch, tmp_path: Path):
    server = MlflowServer(tmp_path)
    small = ["job=train", "training.epochs=0.1", "evaluation.views=[1]"]
    away = f"tracking.uri={server.url}"
    status, output = launch(*small, "name=failed", away, "optim.lr=1e30", "training.max_attempts=1")
    assert status == 1, output
    assert "has not got" not in output

    status, output = launch(*small, "name=whole", away)
    assert status == 0, output
    with server:
        status, output = launch(*small, "name=whole", away)
        assert status == 0, output
        assert "nothing to train" in output
        assert "are delivered" in output


def test_what_waits_is_registered_when_it_is_delivered(launch, tmp_path: Path):
    server = MlflowServer(tmp_path)
    words = ["job=train", "name=model", "training.epochs=0.1", "evaluation.views=[1]", "export.models=true"]
    words += [f"tracking.uri={server.url}", "registry.name=best"]
    status, output = launch(*words)
    assert status == 0, output
    assert "registry  best gets it when MLflow has what is queued: job=deliver, or to register it later: " in output
    with server:
        status, output = launch(*words, "job=deliver")
        assert status == 0, output
        assert "registry  registered as best version 1" in output
        client = MlflowClient(server.url)
        assert [version.version for version in client.search_model_versions("name='best'")] == ["1"]


def test_there_is_nothing_to_deliver_of_a_run_that_is_not_there(launch):
    status, output = launch("job=deliver", "name=absent")
    assert status == 2
    assert "there is no run in" in output
    assert len(output.strip().splitlines()) == 1, output


@pytest.mark.endurance
def test_fresh_says_what_mlflow_never_got_and_required_stops_before_training(launch, tmp_path: Path):
    words = ["job=train", "name=required", "training.epochs=0.1", "evaluation.views=[1]"]
    away = f"tracking.uri=http://127.0.0.1:{free_port()}"
    status, output = launch(*words, away, "tracking.required=true")
    assert status == 2
    assert f"no MLflow at {away} (" in output
    assert output.strip().splitlines()[-1].startswith("error: no MLflow at ")
    assert output.count("error: ") == 1, output
    assert not (tmp_path / "runs" / "required").exists()

    status, output = launch(*words, away)
    assert status == 0, output
    status, output = launch(*words, away, "fresh=true")
    assert status == 0, output
    assert "MLflow never got " in output
    assert "entries of the run before; its tracking.jsonl has them" in output
