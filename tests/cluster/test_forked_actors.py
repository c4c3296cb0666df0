"""What Ray's processes are when a fork server has made them: as they would be without it, but sooner."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from mlflow.tracking import MlflowClient
from ray import tune
from ray.exceptions import RayActorError
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

import platform.cluster.connect as cluster
from platform.checkout import ROOT
from platform.cluster import preparation
from platform.cluster.fork_server.client import FORKED
from platform.config.cluster import ClusterConfig
from tests.cluster.actors import Actor, note_server, report_server

pytestmark = pytest.mark.slow


def started(**options: Any) -> Any:
    return ray.remote(**{"num_cpus": 0, **options})(Actor).remote()


@pytest.fixture(scope="module")
def local_ray() -> Iterator[Path]:
    """A local Ray of the platform's; its folder."""
    cluster.connect(ClusterConfig())
    scratch = preparation.folder()
    yield scratch
    cluster.disconnect()
    assert not scratch.exists()
    assert not [each for each in psutil.process_iter() if _belongs(each, scratch)]


def _belongs(process: psutil.Process, scratch: Path) -> bool:
    try:
        return process.environ().get("PLATFORM_RAY") == str(scratch)
    except psutil.Error:
        return False


def test_actors_are_forked_by_one_server_and_differ_where_nobody_gave_a_seed(local_ray: Path):
    actors = [started() for _ in range(4)]
    answers = ray.get([actor.how.remote() for actor in actors])
    assert {how for how, *_ in answers} == {FORKED}
    assert len({pid for _, pid, _ in answers}) == 4
    assert {parent for *_, parent in answers} == {preparation._fork_servers[0].pid}  # that was started before Ray
    drawn = ray.get([actor.draws.remote() for actor in actors])
    for kind in zip(*drawn, strict=True):
        assert len(set(kind)) == 4
    assert len([path for path in (local_ray / "fork").iterdir() if path.is_socket()]) == 1


def test_ray_train_and_ray_tune_have_their_processes_from_the_same_server(local_ray: Path, tmp_path: Path):
    """They give them variables of their own, and processes with others would have a server of their own."""
    tuned = tune.Tuner(report_server, run_config=tune.RunConfig(storage_path=str(tmp_path), verbose=0)).fit()
    (trial,) = [result.metrics for result in tuned]
    assert trial
    scaling = ScalingConfig(num_workers=1)
    trained = TorchTrainer(
        note_server, train_loop_config={"file": str(tmp_path / "server")}, scaling_config=scaling,
        run_config=RunConfig(storage_path=str(tmp_path)),
    ).fit()  # fmt: skip
    assert trained.error is None
    actor: Any = ray.get(started().how.remote())
    assert trial["server"] == int((tmp_path / "server").read_text()) == actor[2]


def test_threads_are_as_ray_says(local_ray: Path):
    for cpus, threads in ((0, 1), (1, 1), (2, 2)):
        actor = started(num_cpus=cpus)
        assert ray.get(actor.threads.remote()) == (threads, threads, str(threads))
        ray.kill(actor)


@pytest.mark.long
def test_compilers_decoders_mlflow_and_gloo_work_in_children(local_ray: Path, photos: list[bytes], tmp_path: Path):
    actor, other = started(), started()
    store = str(tmp_path / "store")
    sums = [actor.summed.remote(0, store), other.summed.remote(1, store)]
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert ray.get(sums) == [3.0, 3.0]
    run: Any = ray.get(actor.tell_mlflow.remote(uri))
    assert MlflowClient(uri).get_run(run).data.metrics == {"loss": 0.5}
    assert ray.get(other.decoded.remote(photos[0])) == (427, 640, 3)
    error: Any = ray.get(actor.compiled.remote())
    assert error < 1e-6


@pytest.mark.long
def test_a_killed_server_costs_a_slower_start_and_nothing_else(local_ray: Path):
    before = started()
    _, _, server = ray.get(before.how.remote())
    os.kill(server, signal.SIGKILL)
    after = started()
    how, _, other = ray.get(after.how.remote())
    assert how == FORKED
    assert other != server
    assert ray.get(before.how.remote())[0] == FORKED  # it lives on
    ray.kill(after)
    third = started()
    assert ray.get(third.how.remote())[2] == other  # not ended with a worker


def test_a_worker_that_dies_is_told_to_ray_as_ever(local_ray: Path):
    actor = started()
    _, pid, _ = ray.get(actor.how.remote())
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(RayActorError):
        ray.get(actor.how.remote())
    end = time.monotonic() + 20
    while psutil.pid_exists(pid) and time.monotonic() < end:
        time.sleep(0.05)
    assert not psutil.pid_exists(pid)


OFF = """
import os
import platform.cluster.connect as cluster
from platform.config.cluster import ClusterConfig
from platform.cluster.runtime_env import fork_server
import ray
try:
    config = ClusterConfig(fork_server={on})
    print(fork_server(config))
    cluster.connect(config)
    print(ray.get(ray.remote(lambda: os.environ.get("PLATFORM_FORK_SERVER")).remote()))
finally:
    cluster.disconnect()
"""


@pytest.mark.long
@pytest.mark.parametrize(
    ("on", "variables", "off"),
    [
        (False, {}, "cluster.fork_server=false"),
        (True, {"RAY_kill_child_processes_on_worker_exit_with_raylet_subreaper": "true"}, "raylets end what is not"),
    ],
)
def test_off_by_a_setting_or_where_it_cannot_be(on: bool, variables: dict[str, str], off: str):
    done = subprocess.run(
        [sys.executable, "-c", OFF.format(on=on)], cwd=ROOT, env=os.environ | variables, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"off ({off})" if not on else done.stdout.splitlines()[0], "None"]
    assert off in done.stdout
