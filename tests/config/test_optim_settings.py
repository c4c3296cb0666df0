"""Optimisers: every one has settings of its own, a function that makes it and a file that chooses it."""

from dataclasses import asdict, fields
from typing import Any

import pytest

from platform.checkout import ROOT
from platform.config.checks import ConfigError
from platform.config.data import DataConfig
from platform.config.identity import identity
from platform.config.optim import (
    OPTIMISERS,
    AdamWConfig,
    LAMBConfig,
    LARSConfig,
    MuonConfig,
    OptimConfig,
    RMSPropConfig,
    SGDConfig,
    converted,
)
from platform.config.recorded import config_of
from platform.config.sections import Config
from platform.config.settings import unknown_key
from platform.config.training import TrainingConfig
from platform.experiment import plan, plan_text
from platform.overrides import override
from platform.sweep import checks
from platform.sweep.space import parameters
from platform.tracking.parameters import parameters as recorded_parameters
from platform.training import optim
from tests.composing import composing, experiment_of

COMMON = {each.name for each in fields(OptimConfig)} - {"name"}


@pytest.mark.parametrize("name", OPTIMISERS)
def test_every_optimiser_has_a_function_and_a_file(name: str) -> None:
    assert callable(getattr(optim, name))
    config = experiment_of(f"optim={name}")[0].config.optim
    usual: OptimConfig = OPTIMISERS[name]()  # pyright: ignore[reportCallIssue]
    own = {key: value for key, value in asdict(config).items() if key not in COMMON}
    assert own == {key: value for key, value in asdict(usual).items() if key not in COMMON}
    text = (ROOT / "conf" / "optim" / f"{name}.yaml").read_text()
    assert f"defaults: [settings/{name}@_here_]\n" in text


@pytest.mark.parametrize(
    ("overrides", "found"),
    [
        ([], SGDConfig(lr=0.03)),  # the digits' rate
        (["data=cifar10"], SGDConfig(lr=0.02)),
        (["optim.name=sgd", "optim.momentum=0.5"], SGDConfig(lr=0.03, momentum=0.5)),
        (["optim=rmsprop"], RMSPropConfig(lr=0.045, clip_norm=2.0)),  # not that of the data set, which is SGD's
        (["optim=rmsprop", "optim.lr=0.1", "optim.decay=0.8"], RMSPropConfig(lr=0.1, clip_norm=2.0, decay=0.8)),
        (["+experiment=googlenet", "optim=adamw"], AdamWConfig(lr=0.001, weight_decay=0.05, clip_norm=1.0)),
        (["optim.name=adamw", "optim.lr=0.001"], AdamWConfig(lr=0.001)),
    ],
)
def test_an_optimiser_is_chosen_by_its_file_or_its_name(overrides: list[str], found: OptimConfig) -> None:
    config = experiment_of(*overrides)[0].config.optim
    assert type(config) is type(found)
    assert config == found


def test_a_setting_of_another_optimiser_is_told_whose_it_is() -> None:
    assert unknown_key("optim.decay") == (
        "optim.decay is a setting of rmsprop, and another optimiser is chosen here; leave it out"
    )
    assert "did you mean optim.nesterov" in unknown_key("optim.nesterof")
    with pytest.raises(ConfigError, match=r"optim\.decay is a setting of rmsprop"):
        experiment_of("optim=adamw", "optim.decay=0.5")
    with pytest.raises(ConfigError, match=r"^optim\.nesterov: adamw has no such setting; leave it out"):
        experiment_of("optim.nesterov=true", "optim.name=adamw")
    with pytest.raises(ConfigError, match=r"optim\.name is 'adam'; choose one of sgd, rmsprop"):
        experiment_of("optim.name=adam")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (lambda: RMSPropConfig(decay=1.0), r"optim\.decay is 1\.0; give a share in \[0, 1\)"),
        (lambda: RMSPropConfig(epsilon=0.0), r"optim\.epsilon is 0\.0; give more than 0"),
        (lambda: AdamWConfig(beta2=-0.1), r"optim\.beta2 is -0\.1; give a share"),
        (lambda: SGDConfig(scaling="cubic"), r"optim\.scaling is 'cubic'; choose one of none, linear, sqrt"),
        (lambda: SGDConfig(scaling="linear"), r"optim\.scaling is linear; give optim\.reference_batch"),
        (
            lambda: SGDConfig(reference_batch=256),
            r"reference_batch is 256, without effect with optim\.scaling=none",
        ),
        (lambda: SGDConfig(scaling="sqrt", reference_batch=0), r"optim\.reference_batch is 0; give at least 1"),
        (lambda: LARSConfig(weight_decay=0.0), r"optim\.weight_decay is 0\.0, with which lars has no rate for each"),
        (lambda: LAMBConfig(weight_decay=0.0), r"with which lamb has no rate .*; give more than 0"),
        (lambda: MuonConfig(iterations=0), r"optim\.iterations is 0; give 1 to 20"),
    ],
)
def test_what_cannot_work_is_refused(settings: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        settings()


@pytest.mark.parametrize(("scaling", "rate"), [("none", 0.1), ("linear", 3.2), ("sqrt", 0.1 * 32**0.5)])
def test_the_rate_follows_the_batch_size(scaling: str, rate: float) -> None:
    """0.1 for 256 images is 3.2 for 8,192 (Goyal et al.)."""
    optim = SGDConfig(lr=0.1, scaling=scaling, reference_batch=None if scaling == "none" else 256)
    assert optim.lr_of(8192) == pytest.approx(rate)
    assert optim.lr_of(256) == pytest.approx(0.1)
    config = Config(optim=optim, training=TrainingConfig(batch_size=8192))
    said = f"sgd, learning rate {rate:g} x schedule step_decay"
    if scaling != "none":
        said += f" (0.1 for 256 images, {scaling} scaling); larger rates want schedule.warmup_epochs, such as 5"
    assert plan_text._learning_rate(config) == said
    assert recorded_parameters(config).get("optim.effective_lr") == (rate if scaling != "none" else None)


def test_another_optimiser_keeps_what_both_have() -> None:
    assert converted(SGDConfig(lr=0.5, momentum=0.8), "rmsprop") == RMSPropConfig(lr=0.5, momentum=0.8)
    assert converted(SGDConfig(lr=0.5), "adamw") == AdamWConfig(lr=0.5)


def test_records_are_read_with_the_optimiser_they_had_and_those_without_a_name_with_sgd() -> None:
    adamw = asdict(Config(optim=AdamWConfig(beta1=0.8)))
    assert config_of(adamw).optim == AdamWConfig(beta1=0.8)
    former = asdict(Config(optim=SGDConfig(momentum=0.7)))
    del former["optim"]["name"]
    assert config_of(former).optim == SGDConfig(momentum=0.7)
    assert identity(asdict(Config()))["optim"] == {
        "lr": 0.01,
        "momentum": 0.9,
        "nesterov": False,
        "weight_decay": 2e-4,
        "clip_norm": 0.0,
    }  # as before there were others
    with pytest.raises(ConfigError, match="beta9"):
        config_of(adamw | {"optim": adamw["optim"] | {"beta9": 1}})


def test_a_sweep_over_optimisers_has_settings_of_each(digits_data: DataConfig) -> None:
    overrides = ["job=sweep", "+experiment=googlenet", f"data.shards={digits_data.shards}"]
    space = {
        "optim": ["sgd", "rmsprop", "adamw"],
        "optim.momentum": {"choices": [0.8, 0.9], "when": {"optim": ["sgd", "rmsprop"]}},
        "optim.beta2": {"choices": [0.99, 0.999], "when": {"optim": ["adamw"]}},
    }
    base = plan.plan(experiment_of(*overrides, override("+sweep.space", space))[0])
    with composing():
        found = checks.PointChecks(parameters(space), base, None)
        found.run()
        assembled = found._assembled({"optim": "adamw", "optim.beta2": 0.99}).optim
        assert assembled == AdamWConfig(lr=0.001, weight_decay=0.05, clip_norm=1.0, beta2=0.99)
        odd = parameters({"optim": ["sgd", "adamw"], "optim.momentum": [0.8, 0.9]})
        with pytest.raises(ConfigError, match=r"optim=adamw.*optim\.momentum is a setting of sgd"):
            checks.PointChecks(odd, base, None)._composed({"optim": "adamw", "optim.momentum": 0.8})
