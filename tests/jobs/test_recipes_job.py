"""Every experiment of `conf/experiment/` through the real job: three steps of its own networks, on ten dozen digits."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from platform.checkout import ROOT
from platform.config.models import GoogLeNetConfig
from platform.models.build import build
from tests.jobs.conftest import Runner

pytestmark = pytest.mark.long

ELSEWHERE = "sampling_schedule_sweep"  # test_sweep_job.py
RECIPES = sorted(file.stem for file in (ROOT / "conf" / "experiment").glob("*.yaml"))
RUN = [name for name in RECIPES if name != ELSEWHERE and not name.endswith("_from_sweep")]
THREE_STEPS = ["training.epochs=0.2", "training.batch_size=8", "loader.streams=4", "schedule.warmup_epochs=0.1"]
FEW_VIEWS = ["evaluation.views=[1]", "evaluation.every_epochs=0"]
SMALL = [
    *THREE_STEPS,
    *FEW_VIEWS,
    "training.precision=float32",
    "export.models=false",
    "checkpoint.keep_finished=false",
]
TEACHERS = {"googlenet_distilled": "googlenet_ens"}  # which a recipe finds under the name that it has by default
SCRATCH = "flowers17 from scratch"
OWN = {
    "cifar10_fast": ["data=digits"],
    "flowers17": ["data=digits", "model.width=0.25"],
    SCRATCH: ["data=digits", "model.freeze=[]", "optim.head_lr=1"],  # as its head says
    "resolution": ["training.averaging=none"],  # whose batch norm's statistics are minutes in 299 px
    "resnet50_a3": ["training.sizes=[[0,32]]", "data.image_size=48"],
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders of ten digits each, of which a fifth is held out."""
    folder = tmp_path_factory.mktemp("images")
    pixels_NP, labels_N = load_digits(return_X_y=True)
    for number, (pixels, label) in enumerate(zip(pixels_NP[:120], labels_N[:120], strict=True)):
        path = folder / str(label) / f"{number:03d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray((pixels.reshape(8, 8) * 15.9).astype("uint8")).resize((32, 32)).save(path)
    return folder


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Of a GoogLeNet a quarter as wide, of classes of its own."""
    torch.save(build(GoogLeNetConfig(width=0.25), 7, 32, seed=1).state_dict(), tmp_path / "weights.pt")
    return tmp_path / "weights.pt"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", [*RUN, SCRATCH])
def test_an_experiment_runs(case: str, images: Path, weights: Path, tmp_path: Path) -> None:
    runner, name = Runner(tmp_path, str(images.parent / "shards-of-recipes")), case.split()[0]
    places = [f"data.source={images}", *runner.words()[-3:]]
    if name in TEACHERS:
        status, output = runner.bare(f"+experiment={TEACHERS[name]}", *SMALL, *places)
        assert status == 0, output
    begins = [f"model.init={weights}"] if case == "flowers17" else []
    status, output = runner.bare(f"+experiment={name}", *OWN.get(case, []), *begins, *SMALL, *places, f"name={name}")
    assert status == 0, output
    members = list((tmp_path / "runs" / name / "members").iterdir())
    assert members
    for member in members:
        assert runner.state(name, member.name).state == "finished", member.name
        assert runner.attempts(name, member.name)[-1].reached == 3, member.name
    assert (tmp_path / "runs" / name / "table.csv").exists()
    assert ("model begins with" in output) == bool(begins)
