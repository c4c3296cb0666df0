"""The digits ensemble as a RayJob: rendered, run by a stand-in for the operator on two nodes, under fire."""

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
PODS = [
    "cluster.gpus_per_worker=0", "cluster.cpus_per_worker=1", "cluster.kube.pods=2", "cluster.kube.memory_gb=4",
    "cluster.kube.shared_memory_gb=1", "cluster.kube.head_memory_gb=4",
]  # fmt: skip


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
        lost = finished()
        operator.wait(lambda: len(finished()) > len(lost) + 1 and is_training(), timeout_s=400)
        operator.kill(operator.head)
        status = operator.run(timeout_s=600)
        assert (status.job_status, status.failed, status.succeeded) == ("SUCCEEDED", 1, 1), operator.output()
        assert len(operator.clusters) == 2
        output = operator.output()
        assert "the same command goes on" not in output
        assert "7 | " in output or "7 " in output
        client = MlflowClient(mlflow.url)
        (experiment_of_mlflow,) = [each for each in client.search_experiments() if each.name == "platform"]
        runs = client.search_runs([experiment_of_mlflow.experiment_id])
        assert sorted(run.info.run_name or "" for run in runs) == sorted(["pods", *names])
        assert {run.info.status for run in runs} == {"FINISHED"}
    for name in names:
        undisturbed = launch.member("undisturbed", name)
        found = compare.weights(undisturbed.weights, folder.member(name).weights)
        assert found.equal, "\n".join(found.lines())
