"""A RayJob with `fresh=true` whose nodes are lost: the next head gets the same command, and goes on with what the first
began. Afterwards, without any pod, what each launch printed is on the volume."""

from pathlib import Path

import pytest

from platform.experiment.folder import ExperimentFolder, Record
from platform.experiment.goodput import read_attempts
from platform.experiment.member_folder import FINISHED
from platform.experiment.run_logs import launches
from tests.kube.rendered import render
from tests.kube.standin.operator import Operator

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1500)]
WORDS = [
    "+experiment=googlenet", "name=nightly", "fresh=true", "model.width=0.1", "training.epochs=10", "evaluation=single",
    "export.models=false", "training.precision=float32", "checkpoint.every_s=1", "checkpoint.every_steps=20",
    "cluster=kuberay_dev", "cluster.kube.pods=1", "cluster.kube.retries=0",
]  # fmt: skip


def test_lost_nodes_take_no_progress_from_a_fresh_run(tmp_path: Path):
    volume = tmp_path / "volume"
    folder = ExperimentFolder(volume / "runs" / "nightly")
    folder.write(Record({}, {}))  # of the night before
    member = folder.member("model")

    def set_aside() -> int:
        return len(list(folder.path.parent.glob("nightly.*")))

    services = {"mlflow:5000": "127.0.0.1:9"}  # where nobody listens
    volumes, logs = {"platform-data": volume}, tmp_path / "logs"
    with Operator(render(*WORDS), volumes=volumes, services=services, logs=logs, submitter_delay_s=1) as operator:
        operator.wait(lambda: any(member.checkpoints.glob("*.pt")) and bool(read_attempts(member.path)), timeout_s=600)
        assert set_aside() == 1
        assert folder.record().fresh_for == operator.status.ray_cluster_name
        for pod in operator.nodes():  # or the worker would train on without a head
            operator.kill(pod)
        status = operator.run(timeout_s=600)
        assert status.job_status == "SUCCEEDED", operator.output()
        assert (status.failed, len(operator.clusters), len(operator.submitters[0].pods)) == (0, 1, 2)
        assert "nightly: fresh=true is done, as this RayJob began the run; it goes on" in operator.output()
    assert set_aside() == 1
    first, second = read_attempts(member.path)
    assert (first.from_step, second.from_step > 0) == (0, True)
    assert member.state().state == FINISHED
    both = launches(folder.path)
    assert len(both) == 2
    for launch in both:  # of the first nothing could say goodbye
        assert "1 member(s) in 1 lane(s)" in (launch / "driver.log").read_text()
        assert any("step" in log.read_text() for log in launch.glob("lane0-rank0-*.log"))
        assert list(launch.glob("nodes/*/raylet.out"))
