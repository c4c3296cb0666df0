"""Below which paths Ray starts, where its sockets go, and what it says when it cannot."""

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from platform.ray_internals import SHORT_FOLDERS, interpreter, last_words, scratch_folder

ROOT = Path(__file__).resolve().parent.parent

NO_PROCESS = """
import logging
import platform.cluster as cluster
from platform.config import CannotGoOn, ClusterConfig
cluster.interpreter = lambda: {"py_executable": "echo no module called ray >&2; exit 3;"}
cluster.NOT_ALIVE_S, cluster.GIVEN_UP_AFTER_S = 4.0, 5.0
try:
    cluster.connect(ClusterConfig())
except CannotGoOn as error:
    print(error)
finally:
    cluster.disconnect()
"""


@pytest.mark.parametrize(("path", "quoted"), [("/a b/py", "'/a b/py'"), ("/it's/py", "'/it'\"'\"'s/py'")])
def test_an_interpreter_is_quoted_where_bash_needs_it(path: str, quoted: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "executable", path)
    assert interpreter() == {"py_executable": quoted}
    monkeypatch.setattr(sys, "executable", "/100%/py")
    assert interpreter() is None


def test_sockets_lie_in_a_short_private_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    long = tmp_path / ("x" * 80)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    folder, said = scratch_folder()
    assert str(folder.parent) in SHORT_FOLDERS
    assert str(long) in said
    assert str(folder) in said
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.rmdir()
    monkeypatch.setattr(tempfile, "tempdir", "/tmp")
    folder, said = scratch_folder()
    assert said == ""
    folder.rmdir()


def test_last_words_are_those_of_failures(tmp_path: Path):
    (tmp_path / "raylet.err").write_text("bash: line 1: /nowhere/python: No such file or directory\n")
    (tmp_path / "worker-1.err").write_text(":job_id:01000000\n")
    (tmp_path / "raylet.out").write_text("[2026 I 1 1] well\n[2026 E 1 1] it broke\n")
    said = last_words(tmp_path).splitlines()
    assert said == [
        "",
        "  raylet.err: bash: line 1: /nowhere/python: No such file or directory",
        "  raylet.out: [2026 E 1 1] it broke",
    ]
    assert last_words(None) == last_words(tmp_path / "nowhere") == ""


@pytest.mark.slow
def test_a_ray_without_processes_says_so_with_its_own_last_words():
    done = subprocess.run(
        [sys.executable, "-c", NO_PROCESS], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    assert "no process of Ray's has come to life on this machine in 4 s; waiting on" in done.stderr
    assert "no process of Ray's has come to life on this machine in 5 s" in done.stdout
    assert "raylet.err: no module called ray" in done.stdout


@pytest.mark.slow
def test_a_checkout_below_an_odd_path_trains_started_by_uv(tmp_path: Path):
    """A space, an apostrophe and a percent sign, in the paths of checkout, interpreter and database."""
    checkout = tmp_path / "it's 100% x"
    checkout.mkdir()
    for name in ("conf", "jobs", "platform"):
        subprocess.run(["cp", "-r", str(ROOT / name), str(checkout)], check=True)
    (checkout / ".venv").symlink_to(sys.prefix)
    python = checkout / ".venv" / "bin" / "python"
    uv = Path(sys.executable).with_name("uv")
    start = [str(uv), "run", "--no-project", "--no-sync", "--offline", str(python)] if uv.exists() else [str(python)]
    words = [
        "model.width=0.25", "training.epochs=0.1", "evaluation.views=[1]", "evaluation.every_epochs=0",
        "training.precision=float32", "data.samples_per_shard=2000",
    ]  # fmt: skip
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [*start, "-m", "platform.launch", "+experiment=googlenet", *words],
        cwd=checkout, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "wait for MLflow" not in done.stdout
    assert (checkout / "mlflow.db").exists()
