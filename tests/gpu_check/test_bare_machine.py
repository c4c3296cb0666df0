"""The self-test needs torch and little else: it runs whole where Ray, MLflow and Hydra cannot be imported."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from platform.checkout import ROOT

MISSING = (
    "ray", "mlflow", "hydra", "omegaconf", "webdataset", "nvidia.nvimgcodec", "timm", "scipy", "sklearn", "tenacity",
    "safetensors", "pyarrow", "yaml", "optuna", "matplotlib", "pandas", "requests",
)  # fmt: skip
BLOCKER = f"""import sys

class Without:
    # As where they are not installed: whoever only looks finds nothing, and an import fails.
    def __init__(self, finder):
        self._finder = finder

    def find_spec(self, name, path=None, target=None):
        if any(name == each or name.startswith(each + ".") for each in {MISSING}):
            return None
        return self._finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self._finder, name)

sys.meta_path[:] = map(Without, sys.meta_path)
"""


def checked(folder: Path, *given: str) -> dict[str, Any]:
    """The self-test in a process that has a blocker from its first line on, and so have those that it starts."""
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(BLOCKER)
    environment = os.environ | {"PYTHONPATH": str(folder / "site"), "OUT": str(folder / "out"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "platform.gpu_check", "--device", "cpu", "--size", "tiny", *given]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=590, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((folder / "out" / "gpu_check.json").read_text())


@pytest.mark.slow
def test_a_part_runs_on_a_bare_machine(tmp_path: Path) -> None:
    written = checked(tmp_path, "--parts", "feed")
    assert written["passed"]
    assert [check["name"] for check in written["checks"]] == ["batches arrive whole"]


@pytest.mark.long
def test_all_of_it_runs_on_a_bare_machine(tmp_path: Path) -> None:
    written = checked(tmp_path)
    assert written["passed"]
    left = {each["name"] for each in written["left_out"]}
    assert left >= {"optimiser lars", "transforms mixup", "decoding", "waiting", "compiled"}
    assert not left & {"networks", "optimisers", "resume", "replicas", "loader", "loop", "googlenet"}
    assert {each["name"] for each in written["figures"]} >= {
        "loop.wait_share",
        "loader.images_per_s",
        "step.fused_over_separate",
    }
