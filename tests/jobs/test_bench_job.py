"""`job=bench`: the figures are there and mean something; how large they are is not a test's business."""

import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def test_loader_and_step_figures(launch, tmp_path: Path):
    out = tmp_path / "figures.json"
    words = ["job=bench", "bench.parts=[loader,step]", "bench.repeats=1", "bench.image_size=64", f"bench.json={out}"]
    status, output = launch(*words)
    assert status == 0, output
    figures = json.loads(out.read_text())
    expected = {"loader.cpu_ratio", "loader.wall_ratio_2cores", "step.platform_over_bare", "train.platform_over_bare"}
    assert expected <= figures.keys()
    assert all(isinstance(value, float) and value > 0 for value in figures.values())
    assert "loader.cpu_ratio" in output


def test_missing_photographs_are_one_line(launch):
    status, output = launch("job=bench", "bench.photos=/nowhere.tar")
    assert status == 2
    assert "bench.photos is /nowhere.tar, which does not exist; give a tar of JPEG files" in output
