"""`job=summary`: it needs neither data nor Ray, writes its three files, and refuses with a line."""

import subprocess
import sys
from pathlib import Path

import pytest

from platform.checkout import ROOT
from tests.launching import launched

HERE = ("job=summary", "summary.seconds=0")


@pytest.mark.slow
def test_it_tells_of_a_network_without_data_or_ray(tmp_path: Path):
    code = """import sys
from platform.launch import launch
status = launch(sys.argv[1:])
print(*(sys.modules.keys() & {"ray", "mlflow", "triton"}), "loaded", status)"""
    words = ["job=summary", "summary.seconds=0.01", "data.shards=/nowhere", f"output_dir={tmp_path}", "name=mine"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    assert "googlenet, images of 32x32, 10 classes: 22 layers deep" in done.stdout
    assert "images/s forward and backward" in done.stdout
    assert done.stdout.splitlines()[-1].strip().endswith("loaded 0")
    assert "ray" not in done.stdout.splitlines()[-1]
    folder = tmp_path / "summary-mine"
    assert sorted(path.name for path in folder.iterdir()) == ["network.svg", "summary.csv", "summary.md"]
    assert "Measured here" in (folder / "summary.md").read_text()


@pytest.mark.slow
def test_an_ensemble_has_a_summary_for_each_network(tmp_path: Path):
    words = (
        *HERE,
        "+ensemble.members={one:['seed=1'],two:['seed=2'],three:['model=googlenet_bn']}",
        f"summary.output={tmp_path}/out",
        f"output_dir={tmp_path}",
    )
    done = launched(*words)
    assert done.returncode == 0
    assert done.stdout.count("layers deep") == 2
    assert done.stdout.count("written") == 6
    assert len(list((tmp_path / "out").glob("network-*.svg"))) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(["model.name=torchvision/inception_v3"], "data.image_size=32", marks=pytest.mark.long),
        (["model.name=torchvision/nobody"], "torchvision has alexnet"),
        (["summary.seconds=-1"], "summary.seconds is -1"),
        (["summary.output=/dev/null/x"], "give another summary.output"),
    ],
)
def test_what_cannot_be_is_refused_with_a_line(words: list[str], said: str, tmp_path: Path):
    done = launched(*HERE, *words, f"output_dir={tmp_path}")
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
