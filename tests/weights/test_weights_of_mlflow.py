"""Weights of a model in MLflow's registry, with a real database. Nothing is trained."""

from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from safetensors.torch import save_file

from platform.config.checks import ConfigError
from platform.config.experiment import Experiment
from platform.config.sections import Config
from platform.config.tracking import TrackingConfig
from platform.export.description import ARTIFACTS, FILE_NAME, Description
from platform.export.mlmodel import write_mlmodel
from platform.models.build import build
from platform.models.initial import Weights
from platform.tracking.journal import Journal
from platform.tracking.mlflow_models import KEY_TAG
from platform.tracking.tracker import Tracker
from platform.weights.sources import read
from tests.weights.test_weight_sources import NARROW

pytestmark = pytest.mark.slow  # MLflow makes its database
MEAN, STD = [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]


def model_of(folder: Path, classes: list[str], members: list[str], seed: int) -> Path:
    """A model's folder with the weights of its networks, and nothing else of them."""
    artifacts = folder / ARTIFACTS
    artifacts.mkdir(parents=True)
    about = Description(classes, members, image_size=32, mean=MEAN, std=STD, mirror=True, views=1)
    (artifacts / FILE_NAME).write_text(about.text())
    write_mlmodel(folder, about)
    for name in members:
        save_file(build(NARROW, 10, 32, seed).state_dict(), artifacts / f"{name}.safetensors")
    return folder


def test_the_champions_weights_are_those_of_its_version(tmp_path: Path) -> None:
    uri, names = f"sqlite:///{tmp_path / 'mlflow.db'}", [f"kind {number}" for number in range(10)]
    client = MlflowClient(uri)
    client.create_experiment("one", artifact_location=str(tmp_path / "artifacts"))
    tracker = Tracker(TrackingConfig(uri=uri, experiment="one"), Journal(tmp_path / "tracking.jsonl"))
    run = tracker.start("run", {})
    folders = {
        "old": model_of(tmp_path / "old", names, ["model"], 1),
        "new": model_of(tmp_path / "new", names, ["model"], 2),
        "several": model_of(tmp_path / "several", names, ["a", "b"], 3),
    }
    keys = {name: tracker.model(run, name, folder, {}, {}, None) for name, folder in folders.items()}
    assert tracker.close() == 0
    (room,) = [each.experiment_id for each in client.search_experiments(filter_string="name = 'one'")]
    logged = {each.tags[KEY_TAG]: each for each in client.search_logged_models([room])}
    for name in ("flowers", "ensemble"):
        client.create_registered_model(name)
    for name, model in (("flowers", "old"), ("flowers", "new"), ("ensemble", "several")):
        client.create_model_version(name, logged[keys[model]].artifact_location)
    client.set_registered_model_alias("flowers", "champion", "2")
    client.set_registered_model_alias("ensemble", "champion", "1")

    config = Config(name="new", output_dir=str(tmp_path / "runs"), model=NARROW, tracking=TrackingConfig(uri=uri))
    experiment = Experiment(config, {"model": config})
    for given, seed in (("models:/flowers@champion", 2), ("models:/flowers/1", 1), ("models:/flowers/2", 2)):
        found = read(given, NARROW, experiment)
        assert found.digest() == Weights(build(NARROW, 10, 32, seed).state_dict()).digest(), given
        assert found.classes == names
        assert found.normalised == (MEAN, STD)
    with pytest.raises(ConfigError, match=r"a model of 2 networks; give the model of one of them: a, b$"):
        read("models:/ensemble@champion", NARROW, experiment)
    with pytest.raises(ConfigError, match=r"^model.init is models:/flowers@nobody, which MLflow[^\n]*$"):
        read("models:/flowers@nobody", NARROW, experiment)
