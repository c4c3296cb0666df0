"""What a launcher imports before its members train: their start waits for it."""

import subprocess
import sys

import pytest

from platform.checkout import ROOT

IMPORTED = """
import importlib, sys
for name in sys.argv[1].split():
    importlib.import_module(name)
heavy = {"torch", "ray", "ray.train", "ray.tune", "mlflow", "pandas", "pyarrow", "matplotlib"}
print(sorted(heavy & sys.modules.keys()))
"""
BEFORE_RAY = "platform.launch jobs.train jobs.ensemble platform.cluster.preparation"
LANES = "platform.lanes.launcher platform.lanes.follower platform.lanes.growth"
WITH_RAY = f"{BEFORE_RAY} platform.cluster.connect {LANES}"


@pytest.mark.slow
@pytest.mark.parametrize(("modules", "heavy"), [(BEFORE_RAY, "[]"), (WITH_RAY, "['ray']")])
def test_a_launch_of_lanes_of_one_worker_imports_neither_torch_nor_ray_train_nor_mlflow(modules: str, heavy: str):
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, modules], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip() == heavy, done.stderr
