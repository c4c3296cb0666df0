"""Where weights are read from, and what is refused: nothing is unpickled, and each error is one line."""

import pickle
import urllib.error
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from timm.models import _registry as registry

from platform.config.checks import ConfigError
from platform.config.data import DataConfig
from platform.config.experiment import Experiment
from platform.config.models import GoogLeNetConfig, ModelConfig
from platform.config.sections import Config
from platform.models.build import build
from platform.models.initial import Weights
from platform.weights.initial import read_initial_weights
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


SMALL_VIT = "test_vit"  # timm's own for tests: 160 px, patches of 16, 64 wide


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """What timm has for a Vision Transformer, as a state in its own list of weights: nothing is fetched."""
    network, known = timm.create_model(SMALL_VIT), timm.get_pretrained_cfg(SMALL_VIT)
    with torch.no_grad():
        network.get_parameter("pos_embed").normal_()
    assert known
    state = network.state_dict()
    for name in (SMALL_VIT, f"{SMALL_VIT}.{known.tag}"):
        monkeypatch.setitem(registry._model_pretrained_cfgs, name, replace(known, state_dict=state))
    return state


def test_positions_of_published_weights_are_resampled_to_the_images(
    published: dict[str, torch.Tensor], experiment: Experiment
):
    """As timm's own create_model does with img_size."""
    model = ModelConfig(f"timm/{SMALL_VIT}")
    same = read("timm:pretrained", model, experiment, 160).tensors
    assert all(torch.equal(same[name], tensor) for name, tensor in published.items())
    found = read("timm:pretrained", model, experiment, 96)
    grid = published["pos_embed"][:, 1:].reshape(1, 10, 10, 64).permute(0, 3, 1, 2)
    resampled = F.interpolate(grid, size=(6, 6), mode="bicubic", antialias=True, align_corners=False)
    expected = torch.cat([published["pos_embed"][:, :1], resampled.permute(0, 2, 3, 1).reshape(1, 36, 64)], 1)
    torch.testing.assert_close(found.tensors["pos_embed"], expected)
    assert found.normalised == ([0.5] * 3, [0.5] * 3)
    assert torch.equal(found.tensors["blocks.0.mlp.fc1.weight"], published["blocks.0.mlp.fc1.weight"])


def test_published_weights_follow_the_settings_and_else_those_that_fit_are_taken(
    published: dict[str, torch.Tensor], experiment: Experiment
):
    finer, deeper = (ModelConfig(f"timm/{SMALL_VIT}", settings=each) for each in ({"patch_size": 8}, {"depth": 7}))
    found = read("timm:pretrained", finer, experiment, 160).tensors
    assert found["patch_embed.proj.weight"].shape == (64, 3, 8, 8)
    assert found["pos_embed"].shape == (1, 401, 64)
    found = read("timm:pretrained", deeper, experiment, 96).tensors
    assert found["pos_embed"].shape == (1, 37, 64)
    assert torch.equal(found["blocks.5.mlp.fc1.weight"], published["blocks.5.mlp.fc1.weight"])
    assert not any(name.startswith("blocks.6") for name in found)
    with pytest.raises(ConfigError, match=r"model\.settings\.dept: .*did you mean depth"):
        read("timm:pretrained", replace(deeper, settings={"dept": 7}), experiment)


def test_weights_of_images_normalised_otherwise_say_so(
    published: dict[str, torch.Tensor], experiment: Experiment, caplog: pytest.LogCaptureFixture
):
    model = ModelConfig(f"timm/{SMALL_VIT}", init="timm:pretrained")
    theirs, imagenets = DataConfig(image_size=160, mean=[0.5] * 3, std=[0.5, 0.5, 0.501]), DataConfig(image_size=160)
    for data, times in ((theirs, 0), (imagenets, 1)):
        config = Config(name="new", output_dir=experiment.config.output_dir, model=model, data=data)
        read_initial_weights(Experiment(config, {"model": config}))
        said = "were trained with data.mean=[0.5,0.5,0.5] data.std=[0.5,0.5,0.5], and here is data.mean=[0.485,0.456,"
        assert caplog.text.count(said) == times
