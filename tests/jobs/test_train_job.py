"""Training on Ray with real processes: interrupted, killed, on several workers and on a cluster of two nodes."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import torch

from jobs.train import Outcome

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


def test_a_cluster_of_two_nodes(launch, tmp_path: Path):
    with _two_nodes(tmp_path) as address:
        status, output = launch("job=train", "name=nodes", f"cluster.address={address}", "cluster.workers=2")
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


@contextmanager
def _two_nodes(folder: Path) -> Iterator[str]:
    """A head and a worker node of one processor each, on private ports; ended by process id."""
    ports = _free_ports(5)
    scratch = tempfile.mkdtemp(prefix="ray-")  # short: Ray's sockets live below it
    ray = str(Path(sys.executable).with_name("ray"))
    common = ["--num-cpus=1", "--disable-usage-stats", "--object-store-memory=100000000", "--block"]
    head = [
        ray, "start", "--head", f"--port={ports[0]}", f"--dashboard-port={ports[1]}", "--include-dashboard=false",
        f"--dashboard-agent-listen-port={ports[2]}", "--min-worker-port=21000", "--max-worker-port=21200",
        f"--temp-dir={scratch}", *common,
    ]  # fmt: skip
    environment = os.environ | {"RAY_AUTH_MODE": "disabled"}
    processes = [_start(head, environment, folder / "head.log")]
    try:
        _listening(ports[0])
        address = f"{_ip()}:{ports[0]}"
        worker = [
            ray, "start", f"--address={address}", f"--dashboard-agent-listen-port={ports[3]}",
            "--min-worker-port=21300", "--max-worker-port=21500", *common,
        ]  # fmt: skip
        processes.append(_start(worker, environment, folder / "worker.log"))
        os.environ["RAY_AUTH_MODE"] = "disabled"
        _until_two_nodes(address, environment)
        yield address
    finally:
        os.environ.pop("RAY_AUTH_MODE", None)
        for process in reversed(processes):
            _end(process)
        shutil.rmtree(scratch, ignore_errors=True)


def _start(command: list[str], environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command, env=environment, stdout=log.open("wb"), stderr=subprocess.STDOUT, start_new_session=True
    )


def _until_two_nodes(address: str, environment: dict[str, str]) -> None:
    code = f"import ray; ray.init(address={address!r}, log_to_driver=False); print('nodes', len(ray.nodes()))"
    done = None
    for _ in range(30):
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
        )
        if "nodes 2" in done.stdout:
            return
        time.sleep(1)
    raise RuntimeError(f"no second node: {done}")


def _listening(port: int) -> None:
    for _ in range(300):
        with socket.socket() as probe:
            if probe.connect_ex((_ip(), port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError("the head node did not start")


def _ip() -> str:
    from ray.util import get_node_ip_address

    return re.sub(r"^$", "127.0.0.1", get_node_ip_address())


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    """A node and all its processes."""
    tree = (
        [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        if process.poll() is None
        else []
    )
    process.terminate()
    _, alive = psutil.wait_procs(tree, timeout=20)
    for each in alive:
        each.kill()
