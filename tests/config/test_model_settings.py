"""Networks: every one has settings of its own, a module that builds it and a file that chooses it."""

from dataclasses import asdict
from importlib import import_module
from pathlib import Path

import pytest

from platform.checkout import ROOT
from platform.config.checks import ConfigError
from platform.config.experiment import Experiment
from platform.config.identity import identity
from platform.config.models import MODELS, GoogLeNetConfig, ModelConfig, converted, family, model_of
from platform.config.sections import Config
from platform.config.settings import unknown_key
from platform.data.index import Index
from platform.experiment.folder import ExperimentFolder
from tests.composing import experiment_of


@pytest.mark.parametrize("name", [name for name in MODELS if not name.endswith(":")])
def test_every_network_has_a_module_and_a_file(name: str):
    module = name.rstrip("/")
    assert callable(import_module(f"platform.models.{module}").build)
    files = [path.read_text() for path in (ROOT / "conf" / "model").glob("*.yaml")]
    assert any(f"defaults: [settings/{module}@_here_]\n" in text for text in files)


@pytest.mark.parametrize("name", [name for name in MODELS if not name.endswith(("/", ":"))])
def test_a_file_of_its_name_chooses_it(name: str):
    assert asdict(experiment_of(f"model={name}")[0].config.model) == asdict(model_of({"name": name}))


def test_settings_go_through_plain_dicts():
    for model in (GoogLeNetConfig(width=0.5, naive=True), ModelConfig("torchvision/resnet18", auxiliary_weight=0.0)):
        assert model_of(asdict(model)) == model


@pytest.mark.parametrize("name", ["googlenet/x", "torchvision", "x/resnet18", "", "/"])
def test_odd_names_are_refused(name: str):
    with pytest.raises(ConfigError, match=r"give googlenet, .*or torchvision/NAME"):
        model_of({"name": name})
    assert family("torchvision/resnet18") == "torchvision/"


def test_another_network_keeps_what_both_have():
    googlenet = GoogLeNetConfig(auxiliary_weight=0.1)
    assert converted(googlenet, "torchvision/resnet18") == ModelConfig("torchvision/resnet18", 0.1)
    assert converted(ModelConfig("torchvision/resnet18", 0.1), "googlenet") == googlenet
    with pytest.raises(ConfigError, match=r"^model.width, model.naive: torchvision/resnet18 has no such setting"):
        converted(GoogLeNetConfig(width=2, naive=True), "torchvision/resnet18")


@pytest.mark.parametrize(
    ("overrides", "model"),
    [
        (["model.name=torchvision/resnet50"], ModelConfig("torchvision/resnet50")),
        (["model=resnet50"], ModelConfig("torchvision/resnet50")),
        (["model=resnet50", "model.name=googlenet"], GoogLeNetConfig()),
        (["model=googlenet_bn", "model.width=0.25"], GoogLeNetConfig(batch_norm=True, width=0.25)),
        (["model.batch_norm=true"], GoogLeNetConfig(batch_norm=True)),
        (
            ["model.name=timm/resnet18", "model.settings={drop_rate:0.1,channels:[8,16,32,64]}"],
            ModelConfig("timm/resnet18", settings={"drop_rate": 0.1, "channels": [8, 16, 32, 64]}),
        ),
        (
            ["model=resnet50", "model.settings.zero_init_residual=true", "+model.settings.width_per_group=32"],
            ModelConfig("torchvision/resnet50", settings={"zero_init_residual": True, "width_per_group": 32}),
        ),
    ],
)
def test_a_network_is_chosen_by_its_file_or_its_name(overrides: list[str], model: ModelConfig):
    found = experiment_of(*overrides)[0].config.model
    assert type(found) is type(model)
    assert found == model


def test_a_setting_of_another_network_is_told_whose_it_is():
    assert unknown_key("model.width").startswith("model.width is a setting of googlenet, and another")
    assert "did you mean model.width" in unknown_key("model.widht")


def test_settings_of_a_library_are_refused_of_our_own_networks_with_those_they_have():
    with pytest.raises(ConfigError, match=r"^model.settings is of .*; bn_inception has model.dropout: give those"):
        model_of({"name": "bn_inception", "settings": {"drop_rate": 0.1}})
    with pytest.raises(ConfigError, match=r"model.settings is of networks of torchvision, of timm"):
        experiment_of("model.settings.drop_rate=0.1")
    with pytest.raises(ConfigError, match=r"^model.settings is '3': Cannot assign int"):
        experiment_of("model.name=timm/resnet18", "model.settings=3")


def test_settings_of_a_library_are_part_of_the_experiment_where_there_are_some():
    plain, other = (ModelConfig("timm/resnet18", settings=settings) for settings in ({}, {"drop_rate": 0.1}))
    assert "settings" not in identity(asdict(Config(model=plain)))["model"]
    assert identity(asdict(Config(model=other)))["model"]["settings"] == {"drop_rate": 0.1}
    assert (plain.label, other.label) == ("timm/resnet18", "timm/resnet18 drop_rate=0.1")


def test_an_experiment_of_before_there_were_other_optimisers_is_still_the_same():
    found = identity(asdict(Config()))
    assert "name" not in found["optim"]
    assert found["optim"]["momentum"] == 0.9


def test_an_experiment_of_before_there_were_other_losses_is_still_the_same():
    assert "loss" not in identity(asdict(Config()))


FORMER = {"width": 1.0, "batch_norm": False, "naive": False, "local_response_norm": False, "dropout": 0.4}


def test_a_run_of_torchvision_from_before_is_still_the_same(tmp_path: Path, digits: Index) -> None:
    """Its record has GoogLeNet's settings, too, and no name of the optimiser."""
    config = Config(model=ModelConfig("torchvision/resnet18"), output_dir=str(tmp_path), name="before")
    experiment = Experiment(config, {"model": config})
    folder = ExperimentFolder(experiment.folder)
    record = folder.open(experiment, digits)
    before = record.identity["model"]
    assert before["model"] == {"name": "torchvision/resnet18", "auxiliary_weight": 0.3} | FORMER
    assert "name" not in before["optim"]
    assert folder.open(experiment, digits).identity == record.identity


def test_settings_of_before_have_more_of_them() -> None:
    former = asdict(ModelConfig("torchvision/resnet18")) | FORMER
    assert model_of(former) == ModelConfig("torchvision/resnet18")
