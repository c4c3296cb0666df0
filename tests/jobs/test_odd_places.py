"""Where a checkout and its temporary files may be, and who may start it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from platform.checkout import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.long]
ODD = "it's 100% mine"
SMALL = ["+experiment=googlenet", "training.epochs=0.1", "evaluation.views=[1]", "model.width=0.25", "name='größe'"]
SMALL += ["export.models=false"]

JOIN = """
import os, sys
from pathlib import Path
from platform.chaos.nodes import LocalCluster
from platform.config.cluster import ClusterConfig
with LocalCluster(Path(), nodes=1) as nodes:
    os.environ.update(nodes.environment)
    import ray
    import platform.cluster.connect as cluster
    cluster.connect(ClusterConfig(address=nodes.address))
    there = lambda: (__import__("sys").executable, __import__("os").environ["PLATFORM_FORK_SERVER"])
    assert ray.get(ray.remote(there).remote()) == (sys.executable, "forked")
    cluster.disconnect()
"""


def test_a_checkout_may_be_anywhere_under_uv_and_print_to_any_terminal(tmp_path: Path):
    """Its path, its interpreter's and that of temporary files have what shells, sockets and MLflow stumble over."""
    checkout, temporary = tmp_path / ODD, tmp_path / f"{ODD} {'x' * 100}"
    for folder in ("platform", "jobs", "conf"):
        shutil.copytree(ROOT / folder, checkout / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (checkout / ".venv").symlink_to(sys.prefix)
    temporary.mkdir()
    python = checkout / ".venv" / "bin" / Path(sys.executable).name
    uv = Path(sys.executable).with_name("uv")
    command = [
        *([uv, "run", "--no-project", "--offline", "--"] if uv.exists() else []),
        python,
        "-m",
        "platform.launch",
    ]
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment |= {"TMPDIR": str(temporary), "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [*command, *SMALL], cwd=checkout, env=environment, capture_output=True, text=True, encoding="ascii", timeout=500
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "too long for Ray's sockets" in done.stdout
    assert "\\u2500" in done.stdout  # of the table's lines
    assert f"{checkout}/runs/gr\\xf6\\xdfe" in done.stdout
    assert not list(temporary.glob("ray-*"))
    client = MlflowClient(f"sqlite:///{checkout / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("platform")
    assert experiment
    runs = client.search_runs([experiment.experiment_id])
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert all(list(client.list_artifacts(run.info.run_id)) for run in runs)
    made = {path.name for path in checkout.iterdir()} - {"platform", "jobs", "conf", ".venv"}
    assert made == {"data", "mlflow.db", "mlruns", "runs"}

    environment = {**environment, "PYTHONPATH": str(checkout)}  # a cluster of `ray start`, joined by its address
    done = subprocess.run(
        [python, "-c", JOIN], cwd=checkout, env=environment, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stdout + done.stderr
