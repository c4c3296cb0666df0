"""`+experiment=smoke` on Kubernetes: the command submits it, a stand-in for the operator runs its two pods, MLflow has
a finished run with its model."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from platform.chaos.servers import MlflowServer
from platform.checkout import ROOT
from platform.experiment.folder import ExperimentFolder
from platform.experiment.goodput import read_attempts
from platform.experiment.member_folder import FINISHED
from tests.kube.apiserver import ApiServer
from tests.kube.standin.mirror import Mirror
from tests.kube.standin.operator import Operator

COMMAND = [sys.executable, "-m", "platform.launch", "+experiment=smoke", "cluster=kuberay_dev"]


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(1800)
def test_the_smoke_job_ends_in_a_finished_run(tmp_path: Path):
    volume = tmp_path / "volume"
    volume.mkdir()
    with MlflowServer(tmp_path) as mlflow, ApiServer(tmp_path) as server:
        command = subprocess.Popen(
            COMMAND, cwd=ROOT, text=True, env={**os.environ, "KUBECONFIG": str(server.kubeconfig)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            server.store.wait_for(lambda: server.store.job("smoke"), 120)
            rayjob = server.store.job("smoke")
            assert rayjob
            with Operator(
                rayjob,
                volumes={"platform-data": volume},
                services={"mlflow:5000": mlflow.url.removeprefix("http://")},
                logs=tmp_path / "logs",
            ) as operator:
                pods: set[int] = set()

                def is_over() -> bool:
                    pods.add(len(operator.workers()))
                    return operator.status.is_terminal

                operator.wait(Mirror(server.store, operator).then(is_over), timeout_s=1500)
                assert operator.status.job_status == "SUCCEEDED", operator.output()
            printed, _ = command.communicate(timeout=60)
        finally:
            command.kill()
            command.wait()
        assert command.returncode == 0, printed
        assert max(pods) == 2
        assert "smoke: 1 member(s) in 1 lane(s) on 3 node(s), 2 CPUs, 0 GPUs" in printed
        client = MlflowClient(mlflow.url)
        (experiment,) = [each for each in client.search_experiments() if each.name == "platform"]
        (run,) = client.search_runs([experiment.experiment_id])
        assert (run.info.run_name, run.info.status) == ("smoke", "FINISHED")
        assert run.data.metrics["val/top1"] > 0.1  # one of ten classes by chance
    folder = ExperimentFolder(volume / "runs" / "smoke")
    (found,) = (folder.path / "members").iterdir()
    assert folder.member(found.name).state().state == FINISHED
    assert [attempt.workers for attempt in read_attempts(found)] == [2]
