"""docs/extending/*.diff, each applied to a copy of the checkout: what the page shows is all that an extension takes.

Each runs `job=check` on its command line, and then uses what is new once: in a process of its own, without Ray.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from platform.checkout import ROOT

pytestmark = pytest.mark.slow
DIFFS = ROOT / "docs" / "extending"

BEGINNING = """
import sys
from tests.composing import experiment_of
from tests.launching import launched
overrides = sys.argv[1:]
done = launched("job=check", *overrides)
assert done.returncode == 0, done.stderr
print(done.stdout)
config = experiment_of(*overrides)[0].config
"""
MODEL = """
import torch
from platform.models.build import build
network = build(config.model, classes=10, image_size=32, seed=0)
before = network(torch.rand(4, 3, 32, 32))
assert before.shape == (4, 10)
before.sum().backward()
assert network.features[-1][0].out_channels == 32
"""
OPTIMISER = """
import torch
from platform.training.optim import optimiser
network = torch.nn.Linear(3, 1)
images, optimizer = torch.rand(8, 3), optimiser(network, config.optim)
losses = []
for _ in range(2):
    loss = (network(images) - 1).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
assert losses[1] < losses[0]
assert {group["weight_decay"] for group in optimizer.param_groups} == {0.05, 0.0}
"""
SCHEDULE = """
from platform.training.schedules import lr_factor
at = lr_factor(config.schedule, steps_per_epoch=10, total_steps=200)
assert [round(at(step), 3) for step in (0, 20, 40, 120)] == [1, 0.816, 0.707, 0.5]
"""
SAMPLING = """
from platform.data.sampling import DRAWS, crop
sizes = [crop(config.sampling, config.data, 512, 768, [draw] * DRAWS).box.size for draw in (0.0, 0.5, 0.999)]
assert sizes == [(448, 448), (299, 299), (224, 224)], sizes
"""
DATASET = """
from platform.data.train_loader import TrainLoader
from platform.data.index import read_index
from platform.data.training_order import training_order
from platform.packing.pack import pack
pack(config.data)
split = read_index(config.data.shards).split("train")
with TrainLoader(split, training_order(config, split), config.data, config.sampling) as loader:
    batch = next(iter(loader.steps(0, 1)))
assert batch.images.shape == (8, 128, 128, 3)
assert set(batch.labels_N.tolist()) <= set(range(5))
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The checkout's tracked files."""
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if files.returncode:
        pytest.skip("not in a git checkout")
    for name in files.stdout.splitlines():
        if (ROOT / name).is_file():
            (tmp_path / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tmp_path / "copy" / name)
    return tmp_path / "copy"


def applied(copy: Path, *names: str) -> Path:
    for name in names:
        command = ["git", "apply", "--verbose", str(DIFFS / f"{name}.diff")]
        done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return copy


def ran(copy: Path, script: str, *overrides: str) -> str:
    """Output of a script in the copy, whose command line `overrides` can be checked and composed."""
    done = subprocess.run(
        [sys.executable, "-c", BEGINNING + script, *overrides],
        cwd=copy,
        env=os.environ | {"PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("name", "script", "overrides", "shown"),
    [
        ("model", MODEL, ["model=vgg", "model.widths=[8,16,32]", "model.dropout=0.1"], "multi_scale           vgg  "),
        ("optimiser", OPTIMISER, ["optim=radam", "optim.lr=0.01", "optim.beta2=0.99"], "googlenet"),
        ("schedule", SCHEDULE, ["schedule=inverse_root", "schedule.every_epochs=4"], "googlenet"),
        ("sampling", SAMPLING, ["sampling=scale_jitter"], "scale_jitter          googlenet"),
    ],
)
def test_an_extension_is_what_the_page_shows(
    name: str, script: str, overrides: list[str], shown: str, copy: Path, tmp_path: Path
):
    assert shown in ran(applied(copy, name), script, *overrides, f"data.shards={tmp_path / 'none'}")


def test_a_data_set_is_a_file_of_settings(copy: Path, tmp_path: Path):
    photos = tmp_path / "flower_photos"
    for number, name in enumerate(("daisy", "dandelion", "roses", "sunflowers", "tulips")):
        (photos / name).mkdir(parents=True)
        for photo in range(10):
            colour = (50 * number, 25 * photo, 128)
            Image.new("RGB", (240 + photo, 180), colour).save(photos / name / f"{photo}.jpg")
    (photos / "LICENSE.txt").write_text("as the archive has it")
    overrides = ["data=flowers", f"data.source={photos}", f"data.shards={tmp_path / 'shards'}", "training.batch_size=8"]
    shown = ran(applied(copy, "dataset"), DATASET, *overrides)
    assert "data        flowers: 40 training and 10 validation images, 5 classes, 128 px" in shown


@pytest.mark.long
def test_all_of_them_go_together(copy: Path):
    """And what a network does not have is refused, also in the command line of an ensemble."""
    applied(copy, *sorted(file.stem for file in DIFFS.glob("*.diff")))
    settings = "import json\nprint(json.dumps([config.model.name, config.optim.name, config.schedule.name]))"
    words = ["model=vgg", "optim=radam", "schedule=inverse_root", "sampling=scale_jitter"]
    assert '["vgg", "radam", "inverse_root"]' in ran(copy, settings, *words)
    refused = """
assert launched("job=check", "model=vgg", "model.width=2").stderr == (
    "error: model.width is a setting of googlenet, and another network is chosen here; leave it out, or give "
    "model.settings.width, if a network of torchvision, of timm or of your own takes that\\n"
)
assert launched("job=check", "model=vgg", "model.widths=[]").stderr.startswith("error: model.widths is []; give")
assert ", vgg, or torchvision/NAME" in launched("job=check", "model.name=lenet").stderr
"""
    ran(copy, refused)
