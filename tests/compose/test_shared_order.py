"""`ensemble.shared_order`: the order that all members get, what it makes of an experiment, what is refused."""

from dataclasses import asdict, replace

import pytest

from platform.config.checks import ConfigError
from platform.config.ensemble import EnsembleConfig
from platform.config.identity import identity
from platform.config.recorded import config_of
from platform.config.sections import Config
from platform.experiment.plan_text import _order
from platform.tracking.parameters import of_ensemble
from tests.composing import experiment_of

SEVEN = "+experiment=googlenet_ens"


def keys(*overrides: str) -> set[int | None]:
    experiment, _ = experiment_of(SEVEN, *overrides)
    return {each.ensemble.order_key for each in (experiment.config, *experiment.members.values())}


def test_all_members_get_the_order_of_the_experiments_seeds():
    assert keys() == {None}
    (first,), (other,), (third,) = (
        keys("ensemble.shared_order=true", *more) for more in ([], ["seed=1"], ["data=cifar10"])
    )
    assert first is not None
    assert first == third != other


def test_it_is_part_of_what_an_experiment_is_and_without_it_nothing_is_new():
    shared, _ = experiment_of(SEVEN, "ensemble.shared_order=true")
    plain, _ = experiment_of(SEVEN)
    for name, member in shared.members.items():
        own = identity(asdict(plain.members[name]))
        assert "ensemble" not in own
        assert identity(asdict(member)) == own | {"ensemble": {"order_key": member.ensemble.order_key}}
    before = asdict(Config())
    before["ensemble"] = {"members": {}}  # as it was recorded without the setting
    assert identity(before) == identity(asdict(Config()))
    assert config_of(asdict(shared.members["wider"])).ensemble == shared.members["wider"].ensemble


def test_the_plan_and_mlflow_say_it():
    shared, _ = experiment_of(SEVEN, "ensemble.shared_order=true")
    plain, _ = experiment_of(SEVEN)
    assert _order(plain.config) == []
    (line,) = _order(shared.config)
    assert line.startswith("order       all members see the images in one order (ensemble.shared_order); crops,")
    assert of_ensemble(shared.config, shared.members.values())["ensemble.shared_order"] is True
    assert "ensemble.shared_order" not in of_ensemble(plain.config, plain.members.values())


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match=r"ensemble.members is empty: there is nobody to share with; leave it out"):
        experiment_of("ensemble.shared_order=true")
    with pytest.raises(ConfigError, match=r"member one: it changes ensemble.shared_order"):
        experiment_of("job=ensemble", "+ensemble.members={one:['ensemble.shared_order=true'],two:['order_seed=1']}")
    with pytest.raises(
        ConfigError, match=r"ensemble.order_key is 7, and that of seed=0 and order_seed=0 is \d+; leave"
    ):
        experiment_of(SEVEN, "ensemble.shared_order=true", "ensemble.order_key=7")
    with pytest.raises(ConfigError, match=r"ensemble.order_key is 7, and ensemble.shared_order is false; leave it out"):
        replace(EnsembleConfig(), order_key=7)
