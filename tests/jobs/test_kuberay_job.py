"""The digits ensemble as a RayJob: rendered, run by a stand-in for the operator on two nodes, under fire."""

import os
import signal
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from platform.chaos import compare
from platform.chaos.servers import MlflowServer
from platform.experiment import FINISHED, ExperimentFolder
from tests.jobs.conftest import Runner
from tests.kube.rendered import composed, render
from tests.kube.standin.operator import Operator

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

WORDS = [
    "+experiment=googlenet_ens", "name=pods", "model.width=0.1", "training.epochs=2", "evaluation.views=[1,10]",
    "training.precision=float32", "checkpoint.every_s=1", "checkpoint.every_steps=20",
]  # fmt: skip
PODS = ["cluster=kuberay_dev", "cluster.kube.retries=1"]


def _launcher(folder: ExperimentFolder) -> int:
    """The process that holds the experiment."""
    return int((folder.path / ".holder").read_text().split()[1])


def test_the_ensemble_survives_a_lost_node_and_a_lost_attempt(launch: Runner, tmp_path: Path):
    """Killed on the way and gone on with, it ends with the weights of a run that nothing happened to."""
    status, output = launch(*WORDS, "name=undisturbed")
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
        MlflowServer(tmp_path) as mlflow,
        Operator(
            render(*WORDS, *PODS),
            volumes={"platform-data": volume},
            services={"mlflow:5000": mlflow.url.removeprefix("http://")},
            logs=tmp_path / "logs",
        ) as operator,
    ):
        operator.wait_for("RUNNING", timeout_s=240)
        operator.wait(is_training, timeout_s=240)
        operator.kill(operator.workers()[0])
        at_loss = len(finished())
        operator.wait(lambda: len(finished()) > at_loss + 1 and is_training(), timeout_s=400)
        written = {name: folder.member(name).weights.stat().st_mtime_ns for name in finished()}
        os.kill(_launcher(folder), signal.SIGKILL)
        status = operator.run(timeout_s=600)
        output = operator.output()
        assert (status.job_status, status.failed, status.succeeded) == ("SUCCEEDED", 1, 1), output
        assert len(operator.clusters) == 2
        assert written.items() <= {name: folder.member(name).weights.stat().st_mtime_ns for name in names}.items()
        assert f"{len(names) - len(written)} member(s) in 2 lane(s) on 3 node(s), 2 CPUs, 0 GPUs" in output
        client = MlflowClient(mlflow.url)
        (experiment_of_mlflow,) = [each for each in client.search_experiments() if each.name == "platform"]
        runs = client.search_runs([experiment_of_mlflow.experiment_id])
        assert sorted(run.info.run_name or "" for run in runs) == sorted(["pods", *names])
        assert {run.info.status for run in runs} == {"FINISHED"}
    for name in names:
        undisturbed = launch.member("undisturbed", name)
        found = compare.weights(undisturbed.weights, folder.member(name).weights)
        assert found.equal, "\n".join(found.lines())
