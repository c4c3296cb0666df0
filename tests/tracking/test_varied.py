"""By what runs of an experiment differ: parameters that MLflow's pages open on."""

from dataclasses import replace

import pytest

from platform.config.experiment import SINGLE, Experiment
from platform.config.sampling import SamplingConfig
from platform.config.sections import Config
from platform.tracking import varied
from platform.tracking.parameters import parameters


@pytest.fixture
def config() -> Config:
    return Config()


def test_no_setting_sorts_before_them(config: Config):
    assert min(parameters(config)) > varied.PREFIX


def test_a_trial_has_its_values_and_ranges_are_numbers():
    assert varied.of_point({"optim.lr": 0.1, "sampling": "plain", "sampling.area": [0.08, 1]}) == {
        "changed.optim.lr": 0.1,
        "changed.sampling": "plain",
        "changed.sampling.area.min": 0.08,
        "changed.sampling.area.max": 1,
    }


def test_a_trial_has_nothing_twice():
    values = varied.once({"changed.optim.lr": 0.1, "changed.sampling": "a"}, {"optim.lr": 0.1, "sampling.name": "a"})
    assert values == {"changed.optim.lr": 0.1, "changed.sampling": "a", "sampling.name": "a"}


def test_a_member_has_a_value_for_each_key_that_any_member_overrides(config: Config):
    config.ensemble.members = {"one": ["order_seed=1"], "two": ["sampling=photometric", "model.width=1.25"]}
    two = replace(config, model=replace(config.model, width=1.25), sampling=SamplingConfig(name="photometric"))
    experiment = Experiment(config, {"one": replace(config, order_seed=1), "two": two})
    experiment.choices = {"sampling": "multi_scale"}
    assert varied.of_member(experiment, "one") == {
        "changed.order_seed": 1,
        "changed.sampling": "multi_scale",
        "changed.model.width": 1.0,
    }
    second = varied.of_member(experiment, "two")
    assert (second["changed.sampling"], second["changed.model.width"]) == ("photometric", 1.25)
    assert varied.columns(experiment) == ["changed.sampling", "changed.model.width", "changed.order_seed"]


def test_a_single_training_has_what_its_command_line_changes_of_the_recipe(config: Config):
    overrides = [
        "+experiment=googlenet",
        "optim.lr=0.1",
        "sampling.area=[0.08,1]",
        "name=x",
        "tracking.uri=sqlite:///x",
    ]
    overrides += ["export.models=false", "fresh=true", "data=imagenet", "evaluation.views=[1,10]", "cluster=ray"]
    overrides += ["schedule=cosine", "seed=3", "model@model='plain'"]
    config = replace(config, seed=3, optim=replace(config.optim, lr=0.1))
    config = replace(config, sampling=replace(config.sampling, area=[0.08, 1]))
    experiment = Experiment(config, {SINGLE: config}, overrides)
    expected = {"changed.optim.lr": 0.1, "changed.sampling.area.min": 0.08, "changed.sampling.area.max": 1}
    expected |= {"changed.schedule": "cosine", "changed.seed": 3, "changed.model_model": "plain"}
    assert varied.of_member(experiment, SINGLE) == varied.of_member(experiment, "the run's name") == expected


def test_a_value_is_what_hydra_reads_not_yaml(config: Config):
    """YAML 1.1 makes False of `off`, None of `{min:2}`'s value and text of 1e-4."""
    config.ensemble.members = {"one": ["cluster.workers={min:2,max:8}", "schedule.name=off", "optim.lr=1e-4"]}
    one = replace(config, cluster=replace(config.cluster, workers={"min": 2, "max": 8}))
    one.optim.lr, one.schedule.name = 1e-4, "off"
    assert varied.of_member(Experiment(config, {"one": one}), "one") == {
        "changed.cluster.workers": {"min": 2, "max": 8},
        "changed.schedule.name": "off",
        "changed.optim.lr": 0.0001,
    }


def test_every_name_is_one_that_mlflow_takes(config: Config):
    from mlflow.utils.validation import _validate_param_name  # a second

    config.ensemble.members = {"one": ["sampling@sampling=plain"], "two": ["+model/heads@model.x:y=a"]}
    names = varied.columns(Experiment(config, {"one": config, "two": config}))
    assert "changed.sampling_sampling" in names
    for name in names:
        _validate_param_name(name)


def test_a_sweeps_columns_are_what_it_sweeps(config: Config):
    config.job = "sweep"
    config.sweep.space = {
        "sampling": ["plain"],
        "optim.lr": {"low": 0.01, "high": 0.1},
        "sampling.area": {"choices": [[0.08, 1]], "when": {"sampling": ["plain"]}},
    }
    ranges = ["changed.sampling.area.min", "changed.sampling.area.max"]
    assert varied.columns(Experiment(config, {})) == ["changed.sampling", "changed.optim.lr", *ranges]
