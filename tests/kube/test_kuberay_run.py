"""`cluster=kuberay` before there is a cluster: rendered, checked, refused."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from jobs import check
from platform.checkout import ROOT
from platform.config.checks import ConfigError
from platform.config.cluster import ClusterConfig
from platform.config.kubernetes import KubeConfig
from platform.config.sections import Config
from platform.kubernetes import run as kuberay
from tests.kube.rendered import composed

IMAGENET = ["+experiment=googlenet_ens", "data=imagenet", "cluster=kuberay"]


@pytest.fixture(autouse=True)
def no_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's own cluster is asked."""
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "no kubeconfig"))


def run(*words: str) -> int:
    return kuberay.run(*composed(*words), list(words), check.run)


@pytest.mark.slow
def test_a_check_says_what_it_would_take_and_what_this_machine_cannot_see(capsys: pytest.CaptureFixture[str]):
    assert run(*IMAGENET, "job=check", "data.shards=/mnt/platform/imagenet") == 0
    said = capsys.readouterr().out
    assert "7 worker pod(s) of 8 CPUs, 1 GPUs, 32 GiB" in said
    assert "there       python -m platform.launch +experiment=googlenet_ens data=imagenet" in said
    assert "tracking.uri=http://mlflow:5000" in said
    assert "not checked here: no index.json in data.shards=/mnt/platform/imagenet" in said
    assert "cluster     not asked: there is no kubeconfig at" in said


@pytest.mark.slow
def test_a_check_tries_no_place_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").touch()  # no folder can be made here
    assert run("+experiment=googlenet", "cluster=kuberay", "job=check") == 0
    said = capsys.readouterr().out
    assert "not checked here" not in said
    assert "results     /mnt/platform/runs/googlenet-digits (on the volume platform-data)\n" in said
    assert "tracking    http://mlflow:5000, MLflow experiment platform\n" in said
    with pytest.raises(ConfigError, match=r"output_dir: .* cannot be written to"):
        check.run(composed("+experiment=googlenet", "job=check")[0])


@pytest.mark.slow
def test_a_check_refuses_what_submitting_would(capsys: pytest.CaptureFixture[str]):
    for word, said in (("fresh=true", "fresh=true would start anew"), ("data.shards=/home/me", "pods do not see")):
        with pytest.raises(ConfigError, match=said):
            run(*IMAGENET, "job=check", word)


@pytest.mark.slow
def test_it_is_written_to_a_file_or_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "job.yaml"
    assert run(*IMAGENET, f"cluster.render_to={path}") == 0
    assert "kubectl apply -f" in capsys.readouterr().out
    assert run(*IMAGENET, "cluster.render_to=-") == 0
    printed = capsys.readouterr().out
    assert yaml.safe_load(printed) == yaml.safe_load(path.read_text())
    with pytest.raises(ConfigError, match="cannot be written"):
        run(*IMAGENET, f"cluster.render_to={tmp_path / 'absent' / 'job.yaml'}")


@pytest.mark.slow
def test_a_schedule_that_would_repeat_nothing_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "job.yaml"
    nightly = [*IMAGENET, "cluster.kube.schedule=@daily", "cluster.kube.deadline_h=20", "name=nightly"]
    for words, says in (([], True), (["job=evaluate"], False), (["fresh=true", "cluster.kube.retries=0"], False)):
        assert run(*nightly, *words, f"cluster.render_to={path}") == 0
        assert ("note: without fresh=true the schedule trains once" in capsys.readouterr().err) == says
        assert ("# Note: without fresh=true the schedule trains once" in path.read_text()) == says
        assert ("# Note: a job that is tried 4 times" in path.read_text()) == ("fresh=true" not in words)
        assert yaml.safe_load(path.read_text())["spec"]["timeZone"] == "UTC"


@pytest.mark.parametrize(
    ("job", "schedule", "deadline_h", "retries", "remedy"),
    [
        ("train", "@daily", 20, 3, "cluster.kube.deadline_h=5.9 or cluster.kube.retries=0"),
        ("train", "@daily", 5.9, 3, None),
        ("train", "@daily", 20, 0, None),
        ("deliver", "@daily", 20, 3, None),  # tried once
        ("train", "*/20 * * * *", 0.2, 3, "cluster.kube.retries=0"),
    ],
)
def test_tries_that_may_reach_into_the_next_job_of_a_schedule_are_noted(
    job: str, schedule: str, deadline_h: float, retries: int, remedy: str | None
):
    kube = KubeConfig(schedule=schedule, deadline_h=deadline_h, retries=retries)
    notes = kuberay.schedule_notes(Config(job=job, cluster=ClusterConfig(kube=kube)))
    said = [note for note in notes if "may still run" in note]
    assert [note.rpartition("; ")[2] for note in said] == ([f"{remedy} ends it before that"] if remedy else [])


@pytest.mark.slow
def test_a_job_of_the_clock_is_applied_not_followed():
    with pytest.raises(ConfigError, match=r"which nobody follows; add cluster\.render_to=FILE"):
        run(*IMAGENET, "cluster.kube.schedule=@daily", "cluster.kube.deadline_h=20", "name=nightly")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cluster=kuberay"], "error: there is no kubeconfig at"),
        (["cluster.kube.retries=2"], "error: cluster.kube is there with cluster=kuberay only; add that"),
        (["cluster=kuberay", "cluster.kube.retrys=2"], "did you mean cluster.kube.retries"),
        (
            ["cluster.render_to=-"],
            "error: cluster.render_to is '-', but only a RayJob can be rendered; add cluster=kuberay",
        ),
    ],
)
def test_on_the_command_line_each_trouble_is_one_line(words: list[str], said: str, tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-m", "platform.launch", "+experiment=googlenet", *words], cwd=ROOT, text=True,
        capture_output=True, timeout=120, env={"PATH": "/usr/bin:/bin", "KUBECONFIG": str(tmp_path / "absent")},
    )  # fmt: skip
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
