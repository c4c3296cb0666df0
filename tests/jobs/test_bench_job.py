"""`job=bench`: the figures are there and mean something; how large they are is not a test's business."""

import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def test_loader_and_step_figures(launch, tmp_path: Path):
    out = tmp_path / "figures.json"
    words = [
        "job=bench",
        "bench.parts=[loader,order,step,checkpoint]",
        "bench.repeats=1",
        "bench.image_size=64",
        f"bench.json={out}",
    ]
    status, output = launch(*words)
    assert status == 0, output
    figures = json.loads(out.read_text())
    loader = {"cpu_ratio", "wall_ratio_2cores", "preshrunk_ratio", "mean_abs_error", "bias", "overhead_share"}
    expected = {"step.platform_over_bare", "train.platform_over_bare", "order.plan_s", "shuffle.neighbours.platform"}
    expected |= {"checkpoint.save_s", "checkpoint.bytes_mb", "checkpoint.cost_share"}
    assert expected | {f"loader.{name}" for name in loader} <= figures.keys()
    assert all(isinstance(value, float) for value in figures.values())
    signed = ("loader.bias", "loader.overhead_share", "loader.memory_growth_mb")
    signed += ("checkpoint.save_s", "checkpoint.cost_share")  # a difference of two times
    assert all(value > 0 for name, value in figures.items() if name not in signed)
    assert figures["loader.mean_abs_error"] <= 0.05
    assert abs(figures["loader.bias"]) <= 0.01
    assert figures["shuffle.neighbours.platform"] < figures["shuffle.neighbours.webdataset"]
    assert "loader.cpu_ratio" in output


def test_missing_photographs_are_one_line(launch):
    status, output = launch("job=bench", "bench.photos=/nowhere.tar")
    assert status == 2
    assert "bench.photos is /nowhere.tar, which does not exist; give a tar of JPEG files" in output
