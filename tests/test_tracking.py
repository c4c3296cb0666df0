"""The one MLflow writer, against a real SQLite store and a real server over HTTP."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from platform.config import ConfigError, TrackingConfig
from platform.tracking import Tracker


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


@pytest.fixture(autouse=True)
def _artifacts_go_to_a_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_parent_and_child_with_everything(store: str, tmp_path: Path):
    tracker = Tracker(TrackingConfig(uri=store, experiment="one"))
    parent = tracker.start("all", {"seed": 1})
    child = tracker.start("first", {"optim": {"lr": 0.5}, **{f"p{i}": "x" * 7000 for i in range(150)}}, parent=parent)
    for step in range(3000):
        tracker.log(child, step, {"train/loss": 1 / (step + 1)})
    (tmp_path / "table.md").write_text("| |")
    tracker.artifact(parent, tmp_path / "table.md")
    tracker.finish(child, "FINISHED")
    tracker.finish(parent, "FAILED")
    tracker.close()
    client = MlflowClient(store)
    run = client.get_run(child)
    assert run.info.status == "FINISHED"
    assert client.get_run(parent).info.status == "FAILED"
    assert run.data.tags["mlflow.parentRunId"] == parent
    assert run.data.params["optim.lr"] == "0.5"
    assert len(run.data.params) == 151
    assert [point.step for point in client.get_metric_history(child, "train/loss")] == list(range(3000))
    assert {file.path for file in client.list_artifacts(child)} >= {"config.yaml", "environment.txt"}
    assert "table.md" in {file.path for file in client.list_artifacts(parent)}


def test_a_run_taken_up_again_has_no_point_twice(store: str):
    config = TrackingConfig(uri=store, experiment="two")
    first = Tracker(config)
    run = first.start("member", {})
    for step in range(1, 6):
        first.log(run, step, {"progress": step / 10, "train/loss": 1.0})
    first.finish(run, "KILLED")
    first.close()
    second = Tracker(config)
    assert second.start("member", {}, again=run) == run
    for step in range(4, 9):
        second.log(run, step, {"progress": step / 10, "train/loss": 1.0})
    second.finish(run, "FINISHED")
    second.close()
    points = MlflowClient(store).get_metric_history(run, "train/loss")
    assert [point.step for point in points] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert MlflowClient(store).get_run(run).info.status == "FINISHED"


def test_a_run_that_is_gone_is_replaced(store: str):
    tracker = Tracker(TrackingConfig(uri=store, experiment="three"))
    run = tracker.start("member", {}, again="0" * 32)
    assert run != "0" * 32
    tracker.finish(run, "FINISHED")
    tracker.close()


def test_nothing_at_the_address_is_one_line():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(ConfigError, match=r"no MLflow at tracking\.uri=http://127") as error:
        Tracker(TrackingConfig(uri=uri))
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_a_server_that_goes_away_and_comes_back_gets_every_point_in_order(tmp_path: Path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    uri = f"http://127.0.0.1:{port}"
    server = _server(port, tmp_path)
    try:
        tracker = Tracker(TrackingConfig(uri=uri))
        run = tracker.start("member", {"seed": 1})
        tracker.log(run, 1, {"loss": 1.0})
        tracker.flush()
        _end(server)
        for step in range(2, 50):
            tracker.log(run, step, {"loss": 1.0})
        time.sleep(2)
        server = _server(port, tmp_path)
        tracker.finish(run, "FINISHED")
        tracker.close()
        history = MlflowClient(uri).get_metric_history(run, "loss")
        assert [point.step for point in history] == list(range(1, 50))
        assert MlflowClient(uri).get_run(run).info.status == "FINISHED"
    finally:
        _end(server)


def _server(port: int, folder: Path) -> subprocess.Popen[bytes]:
    command = [
        str(Path(sys.executable).with_name("mlflow")), "server", "--host", "127.0.0.1", "--port", str(port),
        "--workers", "1", "--backend-store-uri", f"sqlite:///{folder / 'server.db'}",
        "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    server = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return server
        time.sleep(0.1)
    raise RuntimeError("the MLflow server did not start within a minute")


def _end(server: subprocess.Popen[bytes]) -> None:
    """The server and its workers: the process group it leads."""
    import signal

    if server.poll() is None:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)
