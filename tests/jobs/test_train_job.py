"""Training on Ray with real processes: interrupted, killed, on several workers and on a cluster of two nodes."""

import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch

from jobs.train import Outcome
from platform.chaos.nodes import LocalCluster

pytestmark = pytest.mark.slow


def test_interrupted_runs_are_killed_in_mlflow_and_go_on_where_they_were(launch):
    words = ["job=train", "name=stopped", "training.epochs=4", "training.checkpoint_every_s=0.5"]
    process = launch.start(*words)
    checkpoint = launch.member("stopped", "model").path / "checkpoint.pt"
    _wait(checkpoint.exists, process)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert "stopped by SIGINT" in output
    assert {run.info.status for run in launch.runs("stopped").values()} == {"KILLED"}
    assert not launch.member("stopped", "model").is_trained()
    reached = torch.load(checkpoint, weights_only=True)["step"]
    assert reached > 0

    status, output = launch(*words)
    assert status == 0, output
    assert {run.info.status for run in launch.runs("stopped").values()} == {"FINISHED"}
    assert launch.runs("stopped")["model"].data.metrics["progress"] == 1.0

    status, output = launch(*words, "name=undisturbed")
    assert status == 0, output
    resumed, whole = (
        torch.load(launch.member(n, "model").weights, weights_only=True) for n in ("stopped", "undisturbed")
    )
    assert all(torch.equal(resumed[key], whole[key]) for key in whole)


def test_a_killed_worker_is_replaced_and_its_member_finishes(launch):
    words = ["job=train", "name=bereft", "training.epochs=4", "training.checkpoint_every_s=0.5"]
    process = launch.start(*words)
    _wait((launch.member("bereft", "model").path / "checkpoint.pt").exists, process)
    workers = [p for p in psutil.Process(process.pid).children(recursive=True) if "RayTrainWorker" in _title(p)]
    assert workers
    workers[0].kill()
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert launch.state("bereft", "model").starts == 2


def test_two_workers_train_like_one(launch):
    """Same global batches, same learning: no dropout is left that would differ between ranks."""
    few_steps = "training.epochs=0.15"  # rounding differs and training amplifies it: six steps show the arithmetic
    plain = ["job=train", "model.auxiliary_weight=0", "model.dropout=0", "evaluation.views=[1]", few_steps]
    for workers in (1, 2):
        status, output = launch(*plain, f"name=w{workers}", f"cluster.workers={workers}")
        assert status == 0, output
        assert "359 validation images" in output
    one, two = _weights(launch, "w1"), _weights(launch, "w2")
    assert all(torch.allclose(one[key], two[key], atol=1e-4) for key in one)


def test_a_cluster_of_two_nodes(launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with LocalCluster(tmp_path) as cluster:
        for key, value in cluster.environment.items():
            monkeypatch.setenv(key, value)
        status, output = launch("job=train", "name=nodes", f"cluster.address={cluster.address}", "cluster.workers=2")
    assert status == 0, output
    assert "on 2 node(s)" in output
    assert launch.state("nodes", "model").state == "finished"


def test_no_cluster_at_the_address_is_one_line(launch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    status, output = launch("job=train", "name=nowhere", f"cluster.address={address}")
    assert status == 2
    assert f"no Ray cluster answers at cluster.address={address}" in output


def test_cifar10_trains_through_the_ensemble_by_changing_data_alone(launch, shared_data: Path, tmp_path: Path):
    words = ["+experiment=googlenet_ens", "data=cifar10", f"data.source={shared_data / 'cifar10.tar'}"]
    small = [f"data.shards={tmp_path / 'cifar10'}", "training.epochs=0.02", "evaluation=single", "evaluation.views=[1]"]
    status, output = launch(*words, *small)
    assert status == 0, output
    assert "50000 training and 10000 validation images" in output
    assert "7 model(s), 10,000 validation images" in output


def test_an_outcome_names_every_member_that_did_not_finish():
    from platform.experiment import MemberState

    assert Outcome({"a": MemberState("finished"), "b": MemberState("failed")}).failed == ["b"]


def _weights(launch, experiment: str) -> dict[str, torch.Tensor]:
    return torch.load(launch.member(experiment, "model").weights, weights_only=True)


def _wait(happened: Callable[[], bool], process: subprocess.Popen[str], limit_s: float = 180) -> None:
    end = time.monotonic() + limit_s
    while not happened():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.05)


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
