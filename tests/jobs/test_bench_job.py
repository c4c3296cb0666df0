"""`job=bench`: the figures are there and mean something; how large they are is not a test's business."""

import io
import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch._dynamo.backends.registry import set_default_backend

from platform.bench import step, sweep, views
from platform.bench.figures import Figures
from platform.config.cluster import ClusterConfig
from platform.config.data import DataConfig
from platform.config.jobs import BenchConfig
from platform.config.models import CifarFastConfig, GoogLeNetConfig
from platform.config.sections import Config
from platform.config.training import TrainingConfig
from platform.data.decode import EncodedImage
from platform.data.index import Index
from platform.evaluation.views import render

pytestmark = pytest.mark.slow


@pytest.mark.long
def test_loader_and_step_figures(launch, tmp_path: Path):
    out = tmp_path / "figures.json"
    words = [
        "job=bench",
        "bench.parts=[loader,order,step,checkpoint,views]",
        "bench.repeats=1",
        "bench.image_size=64",
        f"bench.json={out}",
    ]
    status, output = launch(*words)
    assert status == 0, output
    figures = json.loads(out.read_text())
    loader = {"cpu_ratio", "wall_ratio_2cores", "preshrunk_ratio", "mean_abs_error", "bias", "overhead_share"}
    loader |= {"shared_per_cpu_s", "shared_ratio", *(["markers_ratio"] if shutil.which("jpegtran") else [])}
    expected = {"step.platform_over_bare", "train.platform_over_bare", "order.plan_s", "shuffle.neighbours.platform"}
    expected |= {"step.fused_over_separate", "checkpoint.save_s", "checkpoint.bytes_mb", "checkpoint.cost_share"}
    expected |= {"views.images_per_cpu_s", "views.ratio", "views.ratio_decoded_once"}
    assert expected | {f"loader.{name}" for name in loader} <= figures.keys()
    assert all(isinstance(value, float) for value in figures.values())
    signed = ("loader.bias", "loader.overhead_share", "loader.memory_growth_mb")
    signed += ("checkpoint.save_s", "checkpoint.cost_share")  # a difference of two times
    assert all(value > 0 for name, value in figures.items() if name not in signed)
    assert figures["loader.mean_abs_error"] <= 0.05
    assert abs(figures["loader.bias"]) <= 0.01
    assert figures["shuffle.neighbours.platform"] < figures["shuffle.neighbours.webdataset"]
    assert "loader.cpu_ratio" in output


def test_crops_made_one_by_one_are_those_made_together():
    buffer = io.BytesIO()
    Image.radial_gradient("L").convert("RGB").resize((200, 150)).save(buffer, "JPEG")
    image = EncodedImage(buffer.getvalue())
    assert torch.equal(torch.stack(list(views.views(image.decode, 96))), render(image, 96, 144))


def test_overhead_is_what_is_not_between_steps():
    """Two trials beside each other and one after them on either of two lanes, 10 s of steps each, in 30 s."""
    trainings = [(102.0, 112.0), (103.0, 113.0), (118.0, 128.0), (119.0, 129.0)]
    timing = sweep.Timing(commanded=95.0, began=100.0, ended=130.0, trainings=trainings)
    assert timing.overhead_s(side_by_side=2) == pytest.approx((30 * 2 - 40) / 4)
    assert timing.first_trial_s == pytest.approx(7.0)


@pytest.mark.long
def test_a_compiled_step_is_measured_beside_the_uncompiled_one(
    digits_data: DataConfig, digits: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Without a C++ compiler's kernels, which take minutes."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(step, "STEPS", 2)
    training = TrainingConfig(precision="float32", batch_size=16, compile="default")
    config = Config(data=digits_data, model=CifarFastConfig(), training=training, bench=BenchConfig(repeats=1))
    figures = Figures()
    set_default_backend("aot_eager")
    try:
        step.measure(config, digits, tmp_path, figures)
    finally:
        set_default_backend("inductor")
    assert figures.medians()["step.compiled_over_eager"] > 0
    assert figures.medians()["step.compiled_images_per_s"] > 0


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_sweep_figures(digits_data: DataConfig, digits: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sweep, "RATES", [0.01, 0.02])
    monkeypatch.setattr(sweep, "STEPS", 4)
    monkeypatch.setattr(sweep, "REPEATS", 1)
    figures = Figures()
    model, training = GoogLeNetConfig(width=0.25), TrainingConfig(precision="float32")
    config = Config(data=digits_data, model=model, training=training, cluster=ClusterConfig(cpus_per_worker=1))
    sweep.measure(config, digits, tmp_path, figures)
    names = {"overhead_s_per_trial", "bare_tune_s_per_trial", "over_bare_tune", "first_trial_s", "bare_first_trial_s"}
    names.add("first_trial_over_bare")
    assert {f"sweep.{name}" for name in names} == figures.values.keys()
    assert min(figures.medians().values()) > 0


def test_missing_photographs_are_one_line(launch):
    status, output = launch.here("job=bench", "bench.photos=/nowhere.tar")
    assert status == 2
    assert "bench.photos is /nowhere.tar, which does not exist; give a tar of JPEG files" in output
