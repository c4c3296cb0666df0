"""A network of one's own: found by its name, checked before it trains, its source part of what the experiment is."""

import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from platform.config.checks import ConfigError
from platform.config.cluster import ClusterConfig
from platform.config.identity import identity
from platform.config.models import ModelConfig, OwnModelConfig, model_of
from platform.config.sections import Config
from platform.config.training import TrainingConfig
from platform.models.build import build
from platform.models.rehearsal import rehearse
from platform.models.sources import require_shipped, sources_of, with_sources
from platform.training.initial import initial_state
from platform.training.timetable import Timetable

MODULE = """
from torch import nn
from {package}.layers import block
import json, {other}

def build(classes: int, image_size: int, *, width: int = 4, dropout: float = 0.0) -> nn.Module:
    pooled = block(width), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(*pooled, nn.Dropout(dropout), nn.Linear(width, classes))

def features(classes, image_size):
    return block(8)

def broken(classes, image_size):
    raise ValueError(f"no network for {{classes}} classes")

class Spare(nn.Module):
    def __init__(self, classes, trained):
        super().__init__()
        self.used = build(classes, 16)
        self.spare = nn.Linear(2, 2, bias=False).requires_grad_(trained)

    def forward(self, images):
        return self.used(images)

def spare(classes, image_size, *, trained: bool = True):
    return Spare(classes, trained)

def strided(classes, image_size):
    return nn.Sequential(nn.Conv2d(3, 8, 1, stride=2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes))

def nothing(classes, image_size):
    return "a network"

def other_arguments(classes):
    return block(8)

WIDTH = 3
"""
LAYERS = "from torch import nn\n\ndef block(width):\n    return nn.Conv2d(3, width, 3)\n"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """The name of a package in a folder of its own; modules stay imported, so that each test has another."""
    name = f"my_{abs(hash(request.node.name)):x}"
    folder = tmp_path / name
    folder.mkdir()
    other = f"{name}_beside"
    (tmp_path / f"{other}.py").write_text("X = 1\n")
    (tmp_path / "unused.py").write_text("X = 1\n")
    (folder / "layers.py").write_text(LAYERS)
    (folder / "small.py").write_text(MODULE.format(package=name, other=other))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return name


def own(package: str, function: str = "build", **settings: object) -> OwnModelConfig:
    model = with_sources(Config(model=model_of({"name": f"{package}.small:{function}", "settings": settings}))).model
    assert isinstance(model, OwnModelConfig)
    return model


def test_it_is_built_from_its_settings_and_the_seed(package: str) -> None:
    model = own(package, width=6, dropout=0.5)
    assert rehearse(model, 7, 16, 2) is None
    one, same = build(model, 7, 16, seed=1), build(model, 7, 16, seed=1)
    assert one.state_dict()["0.weight"].shape == (6, 3, 3, 3)
    assert torch.equal(one.state_dict()["0.weight"], same.state_dict()["0.weight"])
    assert "SampleDropout" in str(one)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("bild", r"has no function bild; did you mean build\?"),
        ("WIDTH", r"has no function WIDTH"),
        ("broken", r"small:broken raises ValueError: no network for 10 classes \(.*small\.py:\d+\)$"),
        ("nothing", r"returns a str; return a torch\.nn\.Module"),
        (
            "other_arguments",
            r"cannot be called with \(classes, image_size\).*write def other_arguments\(",
        ),
        ("features", r"gives a tensor \[2, 8, 14, 14\] in training, where logits .* = \[2, 10\] belong"),
    ],
)
def test_what_is_no_such_network_is_refused_in_one_line(package: str, function: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as error:
        rehearse(own(package, function), 10, 16, 2)
    assert "\n" not in str(error.value)


def test_a_parameter_that_forward_does_not_use_is_refused_before_several_workers_wait_for_it(package: str) -> None:
    with pytest.raises(ConfigError, match=r"that its training does not use \(spare\.weight\), .* several workers; use"):
        rehearse(own(package, "spare"), 10, 16, 2)
    assert rehearse(own(package, "spare", trained=False), 10, 16, 2) is None


def test_one_whose_gradients_a_cpu_computes_wrongly_is_refused_there(package: str) -> None:
    model = own(package, "strided")
    assert rehearse(model, 10, 16, 2) is None
    with pytest.raises(ConfigError, match=r"fewer than 16 input channels \(0\).*set training\.channels_last=false"):
        rehearse(model, 10, 16, 2, channels_last_on_cpu=True)
    cfg, timetable = Config(model=model), Timetable(2, 2, 1, 0, 0)
    with pytest.raises(ConfigError, match=r"training\.channels_last=false"):
        initial_state(cfg, timetable, torch.device("cpu"))
    initial_state(replace(cfg, training=TrainingConfig(channels_last=False)), timetable, torch.device("cpu"))


def test_settings_are_checked_against_the_function(package: str) -> None:
    with pytest.raises(ConfigError, match=r"model\.settings\.widht: .* has no such setting; did you mean width"):
        rehearse(own(package, widht=3), 10, 16, 2)
    with pytest.raises(ConfigError, match=r"model\.settings\.width is 'x'; .* takes a whole number"):
        rehearse(own(package, width="x"), 10, 16, 2)


def test_its_source_is_what_it_imports_of_the_same_folder(package: str) -> None:
    model = own(package)
    assert list(model.sources) == [f"{package}/layers.py", f"{package}/small.py", f"{package}_beside.py"]
    assert identity(asdict(Config(model=model)))["model"]["sources"] == model.sources


def test_a_changed_source_is_another_experiment_and_refused_by_workers(package: str, tmp_path: Path) -> None:
    before = own(package)
    with (tmp_path / package / "layers.py").open("a") as file:
        file.write("# wider\n")
    after = own(package)
    assert {file for file, digest in after.sources.items() if before.sources[file] != digest} == {
        f"{package}/layers.py"
    }
    with pytest.raises(ConfigError, match=rf"source was another when the run was launched \({package}/layers\.py\)"):
        build(before, 10, 16, 0)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("my_models/small.py:build", "write MODULE:FUNCTION, such as my_models.small:build"),
        ("my_models.small:", "write MODULE:FUNCTION"),
        ("a-b:c", "write MODULE:FUNCTION"),
    ],
)
def test_names_that_are_none(name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        model_of({"name": name})


def test_a_module_that_is_not_there_or_no_python(package: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"there is no {package}/other\.py in .* or PYTHONPATH"):
        with_sources(Config(model=OwnModelConfig(f"{package}.other:build")))
    (tmp_path / package / "other.py").write_text("def build(:\n")
    with pytest.raises(ConfigError, match=r"other\.py is no Python"):
        with_sources(Config(model=OwnModelConfig(f"{package}.other:build")))
    (tmp_path / package / "other.py").write_text("import no_such_library\n")
    with pytest.raises(ConfigError, match=r"raises ModuleNotFoundError: No module named 'no_such_library'"):
        rehearse(OwnModelConfig(f"{package}.other:build"), 10, 16, 2)


def test_what_is_not_sent_along_is_refused(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config(model=own(package))
    with pytest.raises(ConfigError, match=r"where workers do not look; set PYTHONPATH="):
        require_shipped(config)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    require_shipped(config)
    with pytest.raises(ConfigError, match=r"which the cluster does not have; move it into"):
        require_shipped(replace(config, cluster=ClusterConfig(address="ray://head:10001")))
    require_shipped(Config(model=ModelConfig("torchvision/resnet18")))
    require_shipped(Config(model=OwnModelConfig("tests.composing:experiment_of")))


def test_functions_and_installed_packages_are_read_without_running_them() -> None:
    assert "timm" not in sources_of("tests.composing:x")
    found = sources_of("safetensors.torch:load")
    assert "safetensors/torch.py" in found
    assert {file.partition("/")[0] for file in found} == {"safetensors"}
