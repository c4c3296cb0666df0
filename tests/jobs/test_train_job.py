"""Training on Ray with real processes: terminated, orphaned, on several workers. See test_chaos_job for more kills."""

import json
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest
import torch
from mlflow.tracking import MlflowClient

from platform.chaos import session
from platform.cluster.cleanup import MARK
from platform.experiment.goodput import read_attempts
from platform.training.checkpoints import newest_step
from platform.training.progress import COMPUTING

pytestmark = pytest.mark.slow
Found = TypeVar("Found")


@pytest.mark.long
def test_a_terminated_run_ends_as_an_undisturbed_one_and_a_killed_launcher_leaves_nothing(launch):
    """Together, as the run that shows that nothing is held is the undisturbed one."""
    words = ["job=train", "name=stopped", "training.epochs=4", "evaluation.views=[1]"]
    words += ["checkpoint.every_s=1000"]  # none by itself
    process = launch.start(*words)
    _wait(lambda: _step(launch, "stopped") >= 20, process)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert "stopped by SIGTERM" in output
    runs = launch.runs("stopped")
    assert {run.info.status for run in runs.values()} == {"KILLED"}
    assert runs["model"].data.tags["interrupted"] == "stopped by SIGTERM"
    folder = launch.member("stopped", "model")
    assert not folder.is_trained()
    reached = newest_step(folder.checkpoints)
    assert reached >= 20

    status, output = launch(*words)
    assert status == 0, output
    runs = launch.runs("stopped")
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert runs["model"].data.metrics["progress"] == 1.0
    assert runs["model"].data.metrics["goodput_attempts"] == 2
    assert runs["model"].data.tags["attempts"] == "1: stopped by SIGTERM; 2: finished"
    first, second = read_attempts(folder.path)
    assert second.from_step == reached <= first.reached
    assert not list(folder.path.rglob("*.unfinished"))

    whole = _weights_after_a_killed_launcher(launch, *words, "name=undisturbed")
    resumed = _weights(launch, "stopped")
    assert all(torch.equal(resumed[key], whole[key]) for key in whole)


def _weights_after_a_killed_launcher(launch, *words: str) -> dict[str, torch.Tensor]:
    """Of a run that begins anew where a killed launcher has left no process and no lock: nothing disturbs it."""
    process = launch.start(*words)
    _wait(lambda: _step(launch, "undisturbed") >= 1, process)
    scratch = {mark for each in session.living(process.pid) if each.pid != process.pid if (mark := _mark(each))}
    assert len(scratch) == 1
    process.kill()
    process.wait()
    end = time.monotonic() + 30
    while (session.living(process.pid) or Path(*scratch).exists()) and time.monotonic() < end:
        time.sleep(0.1)
    assert not session.living(process.pid)
    assert not Path(*scratch).exists()
    status, output = launch(*words, "fresh=true")  # it is not held any more
    assert status == 0, output
    return _weights(launch, "undisturbed")


def _mark(process: psutil.Process) -> str | None:
    """The folder of the Ray that it belongs to; some of them end at any moment."""
    try:
        return process.environ().get(MARK)
    except psutil.Error:
        return None


def test_two_workers_train_like_one(launch):
    """Same global batches, same learning: no dropout is left that would differ between ranks."""
    few_steps = "training.epochs=0.15"  # rounding differs and training amplifies it: six steps show the arithmetic
    plain = ["job=train", "model.auxiliary_weight=0", "model.dropout=0", "evaluation.views=[1]", few_steps]
    for workers in (1, 2):
        traced = f"training.profile_steps=[{workers},2]"  # [1,2] and [2,2]
        status, output = launch(*plain, f"name=w{workers}", f"cluster.workers={workers}", traced)
        assert status == 0, output
        assert "359 validation images" in output
        run = launch.runs(f"w{workers}")["model"].info.run_id  # which has the trace of one worker
        files = {file.path for file in MlflowClient(launch.uri).list_artifacts(run, "profile")}
        assert files == {f"profile/steps-{workers}-2.{kind}" for kind in ("json.gz", "txt")}
    one, two = _weights(launch, "w1"), _weights(launch, "w2")
    assert all(torch.allclose(one[key], two[key], atol=1e-4) for key in one)


def test_no_cluster_at_the_address_is_one_line(launch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    status, output = launch("job=train", "name=nowhere", f"cluster.address={address}")
    assert status == 2
    assert f"no Ray cluster answers at cluster.address={address}" in output
    assert not list((launch.folder / "runs").glob("*/experiment.json"))  # nothing was begun


def test_a_store_that_is_gone_is_said_before_ray_starts(launch):
    status, output = launch.here("job=train", "data.shards=http://127.0.0.1:9/digits", "storage.attempts=2")
    assert status == 2
    assert "error: data.shards: http://127.0.0.1:9/digits/index.json cannot be read after 2 attempts" in output
    assert len(output.splitlines()) < 4


@pytest.mark.long
def test_cifar10_trains_through_the_ensemble_by_changing_data_alone(launch, shared_data: Path, tmp_path: Path):
    words = ["+experiment=googlenet_ens", "data=cifar10", f"data.source={shared_data / 'cifar10.tar'}"]
    small = [f"data.shards={tmp_path / 'cifar10'}", "training.epochs=0.02", "evaluation=single", "evaluation.views=[1]"]
    status, output = launch(*words, *small)
    assert status == 0, output
    assert "50000 training and 10000 validation images" in output
    assert "7 model(s), 10,000 validation images" in output


def _step(launch, experiment: str) -> int:
    """How far the run says that it is."""
    try:
        workers = json.loads((launch.folder / "runs" / experiment / "live.json").read_text())
    except (FileNotFoundError, ValueError):
        return -1
    return max((worker["step"] for worker in workers if worker["doing"] == COMPUTING), default=-1)


def _weights(launch, experiment: str) -> dict[str, torch.Tensor]:
    return torch.load(launch.member(experiment, "model").weights, weights_only=True)


def _wait(found: Callable[[], Found | None], process: subprocess.Popen[Any], limit_s: float = 180) -> Found:
    """What is found at last: asked once more, a running process may have another answer."""
    end = time.monotonic() + limit_s
    while not (something := found()):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.05)
    return something
