"""Where weights are read from, and what is refused: nothing is unpickled, and each error is one line."""

import pickle
import urllib.error
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from platform.config.checks import ConfigError
from platform.config.models import GoogLeNetConfig, ModelConfig
from platform.config.sections import Config, Experiment
from platform.models.build import build
from platform.models.initial import Weights
from platform.weights.sources import read

NARROW = GoogLeNetConfig(width=0.1)
STATE = build(NARROW, 10, 32, 1).state_dict()


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    config = Config(name="new", output_dir=str(tmp_path / "runs"), model=NARROW)
    return Experiment(config, {"model": config})


def write_run(experiment: Experiment, *members: str) -> Path:
    """As far as it is looked at."""
    folder = Path(experiment.config.output_dir) / "old"
    for name in members:
        (folder / "members" / name).mkdir(parents=True)
        torch.save(STATE, folder / "members" / name / "weights.pt")
    (folder / "experiment.json").write_text("{}")
    return folder


@pytest.mark.parametrize("kind", ["plain.pt", "nested.pth", "wrapped.pt", "checkpoint.pt", "plain.safetensors"])
def test_the_state_of_a_network_is_found_in_a_file(kind: str, tmp_path: Path, experiment: Experiment):
    content = {
        "plain.pt": STATE,
        "nested.pth": {"epoch": 3, "state_dict": STATE},
        "wrapped.pt": {f"module.{name}": tensor for name, tensor in STATE.items()},
        "checkpoint.pt": {"step": 5, "model": {name: tensor + 1 for name, tensor in STATE.items()}, "average": STATE},
    }
    if kind.endswith("safetensors"):
        save_file(STATE, tmp_path / kind)
    else:
        torch.save(content[kind], tmp_path / kind)
    found = read(str(tmp_path / kind), NARROW, experiment)
    assert found.digest() == Weights(STATE).digest()
    assert found.classes is None


@pytest.mark.parametrize("place", ["old", "old/model", "old/members/model"])
def test_a_run_is_named_as_elsewhere(place: str, experiment: Experiment, monkeypatch: pytest.MonkeyPatch):
    folder = write_run(experiment, "model")
    for given in (place, str(folder.parent / place)):
        assert read(given, NARROW, experiment).digest() == Weights(STATE).digest()
    monkeypatch.chdir(folder.parent.parent)
    assert read(f"runs/{place}", NARROW, experiment).digest() == Weights(STATE).digest()


class Opens:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_nothing_is_unpickled(tmp_path: Path, experiment: Experiment):
    torch.save({"state_dict": STATE, "more": Opens(tmp_path / "ran")}, tmp_path / "new.pt")
    (tmp_path / "old.pt").write_bytes(pickle.dumps(Opens(tmp_path / "ran")))
    for name in ("new.pt", "old.pt"):
        with pytest.raises(ConfigError, match=rf"^model.init is .*{name}, which [^\n]*$"):
            read(str(tmp_path / name), NARROW, experiment)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("init", "model", "said"),
    [
        ("nowhere", NARROW, "neither a folder nor a file"),
        ("nowhere.pt", NARROW, "no file; give runs/NAME/members/MEMBER"),
        ("https://example.org/x.safetensors", NARROW, "not read from URLs"),
        ("models:nonsense", NARROW, "give runs/NAME"),
        ("torchvision:DEFAULT", NARROW, "googlenet is not of torchvision"),
        ("torchvision:V7", ModelConfig("torchvision/resnet18"), "torchvision has IMAGENET1K_V1 of resnet18"),
        ("timm:pretrained", ModelConfig("torchvision/resnet18"), "not of timm"),
    ],
)
def test_what_is_not_there_is_one_line(init: str, model: ModelConfig, said: str, experiment: Experiment):
    with pytest.raises(ConfigError) as error:
        read(init, model, experiment)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_an_ensemble_wants_a_member_and_a_damaged_file_is_refused(tmp_path: Path, experiment: Experiment):
    folder = write_run(experiment, "one", "two")
    with pytest.raises(ConfigError, match=r"which has 2 trained members; give one, such as old/members/one$"):
        read("old", NARROW, experiment)
    (folder / "members" / "one" / "weights.pt").write_bytes(b"PK\x03\x04 nothing")
    (tmp_path / "cut.safetensors").write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{}")
    for init in ("old/members/one", str(tmp_path / "cut.safetensors")):
        with pytest.raises(ConfigError, match=r"^model.init is [^\n]*$"):
            read(init, NARROW, experiment)
    torch.save({"epoch": 3}, tmp_path / "empty.pt")
    with pytest.raises(ConfigError, match="holds no network's weights"):
        read(str(tmp_path / "empty.pt"), NARROW, experiment)


def test_published_weights_that_this_machine_does_not_get_are_one_line(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """Nothing answers at the port: as on a machine without a network."""
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(ConfigError, match=r"which this machine does not get \([^\n]+\); fetch it where") as error:
        read("torchvision:IMAGENET1K_V1", ModelConfig("torchvision/squeezenet1_1"), experiment)
    assert isinstance(error.value.__cause__, urllib.error.URLError)
    assert replace(NARROW, init="x").init == "x"
