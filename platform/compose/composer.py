"""Configs out of `conf/` and overrides, by Hydra.

In: the overrides of a command line. Out: the typed `Experiment` with its members; errors as one line. Hydra must have
been started (`hydra.main`, or `hydra.initialize_config_dir` in tests): it keeps where `conf/` is.
"""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import MISSING, DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from platform.compose.messages import message_of
from platform.compose.paths import absolute, at_home
from platform.compose.quoting import as_typed
from platform.config import models, optim
from platform.config.checks import ConfigError, NotComposed, require
from platform.config.experiment import SINGLE, Experiment
from platform.config.models import MODELS, ModelConfig, model_class
from platform.config.optim import OPTIMISERS, OptimConfig, optimiser_class
from platform.config.sections import Config
from platform.config.settings import refuse_empty
from platform.data import draws
from platform.models.sources import with_sources
from platform.overrides import join, key_of
from platform.redaction import sealed_deeply


def store_schemas() -> None:
    """Tell Hydra which settings there are: `schema`, `model/settings/NAME` for those of each network, and
    `optim/settings/NAME` for those of each optimiser.

    The schema has only what all networks and all optimisers have: no setting is left of one that is not chosen. What an
    optimiser's file does not give of that stays as a data set has it.
    """
    store = ConfigStore.instance()
    store.store("schema", Config(model=ModelConfig("googlenet"), optim=OptimConfig("sgd")))
    for name, settings in MODELS.items():
        store.store(name.rstrip("/:"), settings, group="model/settings")
    for name, settings in OPTIMISERS.items():
        store.store(name, _without_common(settings), group="optim/settings")


def _without_common(settings: type[OptimConfig]) -> DictConfig:
    """An optimiser's settings as a node that leaves the common ones as they are when it is merged."""
    node = OmegaConf.structured(settings)
    for each in fields(OptimConfig):
        if each.name != "name":
            node[each.name] = MISSING
    return node


class HydraComposer:
    """The `Composer` that the launcher hands to jobs."""

    def experiment(self, overrides: list[str]) -> Experiment:
        """As `python -m platform.launch OVERRIDES` has it.

        Raises:
            ConfigError: one line with the value, the limit and the remedy.
        """
        composed = self._compose(overrides, with_hydra=True)
        chosen = choices(composed.hydra.runtime.choices)
        with open_dict(composed):
            del composed["hydra"]
        try:
            return experiment_of(composed, overrides, chosen)
        except OmegaConfBaseException as error:
            raise NotComposed(message_of(error)) from error

    def config(self, overrides: list[str]) -> Config:
        """The same without members.

        Raises:
            ConfigError: one line with the value, the limit and the remedy.
        """
        try:
            return typed(self._compose(overrides))
        except NotComposed:
            raise
        except (ConfigError, OmegaConfBaseException) as error:
            raise ConfigError(message_of(error)) from error

    def settings(self, overrides: list[str]) -> dict[str, Any]:
        """As nested plain dicts, interpolations resolved, without the checks and the absolute paths of a `Config`.

        Raises:
            NotComposed: Hydra cannot make anything of it.
        """
        try:
            container = OmegaConf.to_container(self._compose(overrides), resolve=True)
        except OmegaConfBaseException as error:
            raise NotComposed(message_of(error)) from error
        assert isinstance(container, dict)
        return sealed_deeply({str(section): content for section, content in container.items()})

    def usual_choices(self) -> dict[str, str]:
        """`conf/config.yaml`'s choice of each group."""
        return choices(self._compose([], with_hydra=True).hydra.runtime.choices)

    def _compose(self, overrides: list[str], *, with_hydra: bool = False) -> DictConfig:
        try:
            return hydra.compose("config", list(map(as_typed, overrides)), return_hydra_config=with_hydra)
        except (HydraException, OmegaConfBaseException) as error:
            raise NotComposed(message_of(error)) from error


def of_command_line(composed: DictConfig) -> Experiment:
    """What `hydra.main` composed of this process's command line.

    Raises:
        ConfigError: one line with the value, the limit and the remedy.
    """
    known = HydraConfig.get()
    return experiment_of(composed, list(known.overrides.task), choices(known.runtime.choices))


def experiment_of(composed: DictConfig, overrides: list[str], chosen: dict[str, str]) -> Experiment:
    """The typed experiment and its members, each composed as the command line with the member's overrides at its end.

    Raises:
        ConfigError: one line with the value, the limit and the remedy.
    """
    config, composer = typed(composed), HydraComposer()
    rows = config.ensemble.members
    require(
        not config.table.has_rows or len(rows) > 1,
        f"table.against is {config.table.against}, and ensemble.members has {len(rows)} row(s) to compare; name two or "
        "more, or leave it out",
    )
    config.table.require_figures_of(rows)
    config = replace(config, ensemble=replace(config.ensemble, members=config.table.members(rows, config.seed)))
    config = with_order_of_all(config, config)
    members = {}
    for name, own in config.ensemble.members.items():
        try:
            members[name] = with_order_of_all(composer.config(join(overrides, own)), config)
        except ConfigError as error:
            raise ConfigError(f"ensemble member {name}: {error}") from error
    _refuse_without_effect(overrides, list(rows.values()))
    return Experiment(config, members or {SINGLE: config}, overrides, chosen, composer)


def with_order_of_all(member: Config, config: Config) -> Config:
    """A member's config with the order of the images that all members see; as it is where each has its own.

    Raises:
        ConfigError: there are no members, one chooses for itself, or another order is given.
    """
    shared = config.ensemble.shared_order
    require(
        member.ensemble.shared_order == shared,
        "it changes ensemble.shared_order, which is of all members; give it beside them",
    )
    if not shared:
        return member
    require(
        bool(config.ensemble.members),
        "ensemble.shared_order is true, and ensemble.members is empty: there is nobody to share with; leave it out",
    )
    key = draws.key(config.seed, config.order_seed) % 2**32  # a number that JSON holds exactly
    require(
        member.ensemble.order_key in (None, key),
        f"ensemble.order_key is {member.ensemble.order_key}, and that of seed={config.seed} and "
        f"order_seed={config.order_seed} is {key}; leave it out",
    )
    return replace(member, ensemble=replace(member.ensemble, order_key=key))


def _refuse_without_effect(overrides: list[str], members: list[list[str]]) -> None:
    """An override that every member replaces by its own would be dropped without a word."""
    for override in overrides:
        key = key_of(override)
        if members and all(key in map(key_of, own) for own in members):
            raise ConfigError(f"{override} has no effect: every ensemble member sets {key}; change the members instead")


def choices(groups: Mapping[Any, Any]) -> dict[str, str]:
    """Config group -> the file chosen of it; Hydra's own groups are no part of an experiment."""
    return {str(key): str(value) for key, value in groups.items() if "/" not in str(key) and value}


def as_given(composed: DictConfig) -> Config:
    """A composed config as dataclasses, interpolations resolved, paths as they are."""
    config = OmegaConf.to_object(composed)
    assert isinstance(config, Config)
    model, optimiser = config.model, config.optim
    if type(model) is not model_class(model.name):  # model.name=... in place of model=...
        config = replace(config, model=models.converted(model, model.name))
    if type(optimiser) is not optimiser_class(optimiser.name):
        config = replace(config, optim=optim.converted(optimiser, optimiser.name))
    return config


def typed(composed: DictConfig) -> Config:
    """The same with absolute paths: workers have other directories."""
    config = at_home(as_given(composed))
    refuse_empty(config)
    return absolute(with_sources(config))
