"""Hydra's own `--multirun`: ordinary runs, one after another in one process."""

import signal
from pathlib import Path

import pytest

from platform.checkout import ROOT
from tests.jobs.conftest import Runner

pytestmark = pytest.mark.slow
MULTIRUN = "--multirun"  # before all overrides or after them: argparse wants them in one piece
GRID = ["+experiment=googlenet", "optim.lr=0.01,0.02", "training.epochs=0.1", "evaluation.views=[1]"]


@pytest.mark.long
def test_runs_of_their_own_names_and_a_file_only_among_the_results(launch: Runner, tmp_path: Path):
    status, output = launch(*GRID, "name=quick-${optim.lr}", MULTIRUN)
    assert status == 0, output
    assert output.index("run 0: optim.lr=0.01") < output.index("run 1: optim.lr=0.02")
    for name in ("quick-0.01", "quick-0.02"):
        assert launch.state(name, "model").state == "finished"
        assert {run.info.status for run in launch.runs(name).values()} == {"FINISHED"}
    assert not (ROOT / "multirun.yaml").exists()  # mlruns may: MLflow puts the artifacts of a local database there
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"quick-0.01", "quick-0.02", ".multirun"}


def test_a_run_that_fails_is_named_and_the_others_go_on(launch: Runner):
    words = ["job=check", "name=quick-${training.batch_size}", "training.batch_size=32,100000,16"]
    status, output = launch("+experiment=googlenet", *words, MULTIRUN)
    assert status == 2
    assert "training.batch_size is 100000, more than" in output
    assert "error: run 1 (training.batch_size=100000) ended with 2" in output
    assert "quick-16" in output
    assert "Traceback" not in output


@pytest.mark.long
def test_one_name_for_different_runs_is_refused(launch: Runner):
    status, output = launch(*GRID, "name=quick", MULTIRUN)
    assert status == 2
    assert launch.state("quick", "model").state == "finished"
    assert "quick was run with another config (optim.lr" in output
    assert "error: run 1 (optim.lr=0.02) ended with 2" in output


@pytest.mark.long
def test_an_interruption_ends_all(launch: Runner):
    """Also where glibc writes over what is freed: a thread that is still in a Ray that has ended would crash there."""
    words = [*GRID, "name=quick-${optim.lr}", "training.epochs=1000", MULTIRUN]
    process = launch.start(*words, environment={"MALLOC_PERTURB_": "165"})
    assert process.stdout
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("model") and "0%" in line:
            process.send_signal(signal.SIGINT)
            break
    output = "".join(lines) + process.stdout.read()
    assert process.wait(120) == 130, output
    assert "the same command goes on" in output
    assert "run 1" not in output
    assert not launch.member("quick-0.02", "model").path.exists()
