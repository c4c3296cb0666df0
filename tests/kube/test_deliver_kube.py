"""MLflow goes away while a RayJob trains: the job succeeds on its first cluster, and `job=deliver`, a head without
workers, brings the rest when MLflow is back."""

from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from platform.chaos.servers import MlflowServer
from platform.experiment.folder import ExperimentFolder
from tests.kube.rendered import render
from tests.kube.standin.operator import Operator
from tests.kube.standin.status import Status

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1500)]
WORDS = [
    "+experiment=googlenet", "name=away", "model.width=0.1", "training.epochs=2", "evaluation=single",
    "export.models=false", "training.precision=float32", "checkpoint.every_s=1", "checkpoint.every_steps=20",
    "cluster=kuberay_dev", "cluster.kube.pods=1",
]  # fmt: skip


def test_what_mlflow_missed_is_delivered_by_a_job_without_workers(tmp_path: Path):
    volume = tmp_path / "volume"
    folder = ExperimentFolder(volume / "runs" / "away")
    folder.path.mkdir(parents=True)

    def operator(*words: str) -> Operator:
        return Operator(
            render(*WORDS, *words),
            volumes={"platform-data": volume},
            services={"mlflow:5000": mlflow.url.removeprefix("http://")},
            logs=tmp_path / "logs",
        )

    with MlflowServer(tmp_path) as mlflow:
        with operator() as training:
            training.wait(lambda: any(folder.member("model").checkpoints.glob("*.pt")), timeout_s=600)
            mlflow.kill()
            status = training.run(timeout_s=600)
            assert _end(status) == ("Complete", "SUCCEEDED", 0), training.output()
            assert len(training.clusters) == 1
            assert "the same command with job=deliver brings them when it is back" in training.output()
        with operator("job=deliver") as early:
            status = early.run(timeout_s=600)
            assert _end(status) == ("Failed", "FAILED", 1), early.output()  # tried once: MLflow is still away
            assert len(early.clusters) == 1
        mlflow.start()
        with operator("job=deliver") as delivery:
            pods: set[int] = set()

            def is_over() -> bool:
                pods.add(len(delivery.nodes()))
                return delivery.status.is_terminal

            delivery.wait(is_over, timeout_s=600)
            assert _end(delivery.status) == ("Complete", "SUCCEEDED", 0), delivery.output()
            assert max(pods) == 1  # a head
            assert "away: nothing is queued for MLflow" in delivery.output()
        client = MlflowClient(mlflow.url)
        (experiment,) = [each for each in client.search_experiments() if each.name == "platform"]
        (run,) = client.search_runs([experiment.experiment_id])
        assert (run.info.run_name, run.info.status) == ("away", "FINISHED")
        assert "val/top1" in run.data.metrics


def _end(status: Status) -> tuple[str, str, int]:
    return status.job_deployment_status, status.job_status, status.failed
