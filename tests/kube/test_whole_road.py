"""The digits ensemble as a RayJob: the command submits it to an API server, a stand-in for the operator runs it on two
nodes under fire, and the command ends as the job does."""

import contextlib
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from platform.chaos import compare
from platform.chaos.servers import MlflowServer
from platform.checkout import ROOT
from platform.config.data import DataConfig
from platform.experiment.folder import ExperimentFolder
from platform.experiment.member_folder import FINISHED
from tests.jobs.conftest import Runner
from tests.kube.apiserver import ApiServer
from tests.kube.conftest import ADMIN, PASSWORD
from tests.kube.rendered import composed
from tests.kube.standin.mirror import Mirror
from tests.kube.standin.operator import Operator

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1200)]

ACCOUNT = {"MLFLOW_TRACKING_USERNAME": ADMIN, "MLFLOW_TRACKING_PASSWORD": PASSWORD}
WORDS = [
    "+experiment=googlenet_ens", "name=pods", "model.width=0.1", "training.epochs=2", "evaluation.views=[1,10]",
    "export.models=false", "training.precision=float32", "checkpoint.every_s=1", "checkpoint.every_steps=20",
]  # fmt: skip


@contextlib.contextmanager
def _command(server: ApiServer, *words: str) -> Iterator[subprocess.Popen[str]]:
    """The launcher on somebody's machine."""
    process = subprocess.Popen(
        [sys.executable, "-m", "platform.launch", *words], cwd=ROOT, text=True,
        env={**os.environ, "KUBECONFIG": str(server.kubeconfig)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _runs(tracking: str) -> dict[str, str]:
    """MLflow's runs of the experiment: how each ended. As somebody with an account sees them."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ACCOUNT.items():
            patch.setenv(name, value)
        client = MlflowClient(tracking)
        (found,) = [each for each in client.search_experiments() if each.name == "platform"]
        runs = client.search_runs([found.experiment_id])
    assert len(runs) == len({run.info.run_name for run in runs})
    return {run.info.run_name or "": run.info.status for run in runs}


def _launcher(folder: ExperimentFolder) -> int:
    """The process that holds the experiment."""
    return int((folder.path / ".holder").read_text().split()[1])


@pytest.fixture
def launch(tmp_path: Path, digits_data: DataConfig) -> Runner:
    return Runner(tmp_path, digits_data.shards)


@pytest.fixture
def tracking(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """MLflow of the dev overlay with its accounts and PostgreSQL; where there is none, one without."""
    try:
        yield request.getfixturevalue("server")
    except pytest.skip.Exception:
        with MlflowServer(tmp_path) as server:
            yield server.url


def test_the_ensemble_survives_a_lost_node_and_a_lost_attempt(launch: Runner, tracking: str, tmp_path: Path):
    """Killed on the way and gone on with, it ends with the weights of a run that nothing happened to."""
    status, output = launch(*WORDS, "name=undisturbed", f"data.shards={tmp_path / 'digits'}")  # packed as in the pods
    assert status == 0, output
    volume = tmp_path / "volume"
    volume.mkdir()
    folder = ExperimentFolder(volume / "runs" / "pods")
    experiment, _ = composed(*WORDS)
    names = list(experiment.members)
    assert len(names) == 7

    def finished() -> list[str]:
        return [name for name in names if folder.member(name).state().state == FINISHED]

    def is_training() -> bool:
        return any(list(folder.member(name).checkpoints.glob("*.pt")) for name in names if name not in finished())

    with (
        ApiServer(tmp_path) as server,
        _command(server, *WORDS, "cluster=kuberay_dev", "cluster.kube.retries=1") as command,
    ):
        server.store.wait_for(lambda: server.store.job("pods"), 120)
        rayjob = server.store.job("pods")
        assert rayjob
        with Operator(
            rayjob,
            volumes={"platform-data": volume},
            services={"mlflow:5000": tracking.removeprefix("http://")},
            secrets={"platform-credentials": ACCOUNT},
            logs=tmp_path / "logs",
        ) as operator:
            seen = Mirror(server.store, operator).then
            operator.wait(seen(is_training), timeout_s=400)
            with urllib.request.urlopen(operator.clusters[-1].metrics, timeout=30) as page:
                assert 'platform_members{experiment="pods",state="running"}' in page.read().decode()
            operator.kill(operator.workers()[0])
            at_loss = len(finished())
            operator.wait(seen(lambda: len(finished()) > at_loss + 1 and is_training()), timeout_s=400)
            assert list(operator.machine.scratch.glob("**/logs/fork_server.log"))  # while the nodes are there
            written = {name: folder.member(name).weights.stat().st_mtime_ns for name in finished()}
            os.kill(_launcher(folder), signal.SIGKILL)
            operator.wait(seen(lambda: operator.status.is_terminal), timeout_s=600)
            status, output = operator.status, operator.output()
            assert (status.job_status, status.failed, status.succeeded) == ("SUCCEEDED", 1, 1), output
            assert len(operator.clusters) == 2
        printed, _ = command.communicate(timeout=60)
        assert command.returncode == 0, printed
        assert "rayjob platform/pods is submitted" in printed
        assert "Retrying: attempt 1 of 2 failed" in printed
        left = len(names) - len(written)
        assert f"pods: {left} of {len(names)} members in 2 lane(s) on 3 node(s), 2 CPUs, 0 GPUs" in printed
        assert "Complete: the job succeeded" in printed
        assert written.items() <= {name: folder.member(name).weights.stat().st_mtime_ns for name in names}.items()
    for name in names:
        undisturbed = launch.member("undisturbed", name)
        found = compare.weights(undisturbed.path, folder.member(name).path)
        assert found.equal, "\n".join(found.lines())
    assert _runs(tracking) == dict.fromkeys(["pods", *names], "FINISHED")
