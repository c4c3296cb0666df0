"""Which settings are parameters in MLflow: those that the job uses, with the values that they had."""

from dataclasses import asdict, replace

import pytest

from platform.config.identity import flatten
from platform.config.sampling import SamplingConfig
from platform.config.sections import Config
from platform.tracking.parameters import UNUSED, of_ensemble, of_sweep, of_trial, parameters, ranges_apart


@pytest.fixture
def config() -> Config:
    return Config()


def test_sections_of_other_jobs_are_left_out_and_values_are_as_they_were(config: Config):
    config.data.mirror = False
    found = parameters(config)
    sections = {key.partition(".")[0] for key in found}
    assert not sections & {"pack", "bench", "chaos", "promote", "sweep", "ensemble", "storage", "output_dir", "fresh"}
    assert not sections & {"predict", "serve", "export", "reproduce", "name", "job"}
    assert "evaluation.split" not in found  # which nobody could change any more
    assert "cluster.kube" not in found
    assert found["sampling.mirror"] is found["data.mirror"] is False
    assert found["seed"] == 0
    assert found["model.width"] == 1.0
    assert None not in found.values()
    config.data.mirror = True
    assert parameters(config)["sampling.mirror"] is True


def test_ranges_are_numbers(config: Config):
    config.sampling.area = [0.25, 1]
    config.cluster.workers = {"min": 2, "max": 8}
    found = parameters(config)
    assert (found["sampling.area.min"], found["sampling.area.max"]) == (0.25, 1)
    assert (found["cluster.workers.min"], found["cluster.workers.max"]) == (2, 8)
    assert "sampling.area" not in found
    assert found["evaluation.views"] == [1, 10, 144]
    assert ranges_apart(
        {"changed.sampling.area": [0.08, 0.5], "changed.sampling": "plain", "changed.x": [1, 2, 3]}
    ) == {
        "changed.sampling.area.min": 0.08,
        "changed.sampling.area.max": 0.5,
        "changed.sampling": "plain",
        "changed.x": [1, 2, 3],
    }


def test_what_is_without_effect_is_left_out(config: Config):
    assert "sampling.photometric_range.min" not in parameters(config)
    assert {"schedule.factor", "training.averaging_start"} <= parameters(config).keys()
    config.schedule.name, config.training.averaging, config.sampling.photometric = "cosine", "none", True
    config.sampling.method = "centre_square"
    found = parameters(config)
    assert "schedule.final" in found
    assert not {"schedule.factor", "training.averaging_start", "sampling.area.min", "data.min_crop_area"} & found.keys()
    assert "sampling.photometric_range.min" in found
    config.storage.cache_gb, config.data.shards = 7, "s3://bucket/shards"
    assert parameters(config)["storage.cache_gb"] == 7


def test_every_setting_that_is_said_to_have_no_effect_exists(config: Config):
    known = flatten(asdict(config)).keys() | {"sweep.mutate"}
    for (setting, _), unused in UNUSED.items():
        section = setting.partition(".")[0]
        assert {setting, *(f"{section}.{key}" for key in unused)} <= known


def test_the_parent_of_an_ensemble_has_what_its_members_share(config: Config):
    one, two = replace(config, order_seed=1), replace(config, order_seed=2, sampling=SamplingConfig(name="photometric"))
    config.ensemble.members = {"one": ["order_seed=1"], "two": ["order_seed=2", "sampling=photometric"]}
    found = of_ensemble(config, [one, two])
    assert found["optim.lr"] == 0.01
    assert not {"order_seed", "sampling.name"} & found.keys()
    assert found["sampling.method"] == "area_aspect"
    assert found["ensemble.members.two"] == ["order_seed=2", "sampling=photometric"]


def test_the_parent_of_a_sweep_has_the_search_and_none_of_what_is_swept(config: Config):
    config.job, config.sweep.space = "sweep", {"optim.lr": {"low": 0.01, "high": 0.1}, "sampling": ["plain"]}
    found = of_sweep(config)
    assert not [key for key in found if key == "optim.lr" or key.startswith("sampling.")]
    assert found["sweep.space.optim.lr.low"] == 0.01
    assert found["sweep.search"] == "grid"
    assert "sweep.reduction" not in found
    assert found["optim.momentum"] == 0.9
    assert found["seed"] == 0
    config.sweep.seeds = 2
    assert "seed" not in of_sweep(config)


def test_a_trial_has_what_its_sweep_has_not_or_has_otherwise(config: Config):
    config.job, config.sweep.space = "sweep", {"optim.lr": {"low": 0.01, "high": 0.1}, "sampling": ["plain"]}
    trial = replace(config, optim=replace(config.optim, lr=0.05, momentum=0.8), seed=3)
    found = of_trial(trial, config)
    assert (found["optim.lr"], found["optim.momentum"], found["seed"]) == (0.05, 0.8, 3)
    assert not {"optim.name", "training.batch_size", "checkchanged.keep"} & found.keys()
    whole = {key: value for key, value in (of_sweep(config) | found).items() if not key.startswith("sweep.")}
    assert whole == parameters(trial)
