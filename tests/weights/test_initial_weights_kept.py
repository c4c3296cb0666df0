"""Weights that members begin with, once the source has gone: what the experiment keeps of them is enough."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from platform.config.checks import ConfigError
from platform.config.experiment import Experiment
from platform.config.models import GoogLeNetConfig
from platform.config.sections import Config
from platform.experiment.folder import ExperimentFolder, Record
from platform.models.build import build
from platform.weights.initial import read_initial_weights


def begun(experiment: Experiment) -> ExperimentFolder:
    """As a training leaves its folder."""
    found, folder = read_initial_weights(experiment), ExperimentFolder(experiment.folder)
    for digest, weights in found.weights.items():
        folder.initial_weights_file(digest).parent.mkdir(parents=True, exist_ok=True)
        weights.write(folder.initial_weights_file(digest))
    folder.write(Record({}, {name: asdict(member) for name, member in found.experiment.members.items()}))
    return folder


@pytest.mark.parametrize("where", ["experiment", "members"])
def test_a_job_that_trains_nothing_needs_no_source(where: str, tmp_path: Path):
    source, narrow = tmp_path / "source.pt", GoogLeNetConfig(width=0.1)
    torch.save(build(narrow, 10, 32, 1).state_dict(), source)
    member = Config(name="two", output_dir=str(tmp_path), model=replace(narrow, init=str(source)))
    config = member if where == "experiment" else replace(member, model=narrow)
    members = {name: replace(member, order_seed=number) for number, name in enumerate("ab")}
    experiment = Experiment(config, members)
    begun(experiment)
    source.unlink()
    reading = replace(experiment, config=replace(config, job="report"))
    reading.members = {name: replace(each, job="report") for name, each in members.items()}
    found = read_initial_weights(reading).experiment
    (digest,) = {each.model.init_digest for each in found.members.values()}
    assert digest
    assert found.config.model.init_digest == (digest if where == "experiment" else "")
    with pytest.raises(ConfigError, match="which is no file"):
        read_initial_weights(experiment)
