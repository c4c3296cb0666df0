"""Configs composed as the launcher does it, in this process."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import hydra
from omegaconf import DictConfig

from platform.checkout import ROOT
from platform.compose.composer import HydraComposer, store_schemas
from platform.config.experiment import Experiment
from platform.config.sections import Config


class Remembering(HydraComposer):
    """`conf/` does not change while tests run, and Hydra takes a tenth of a second for what it has made before."""

    def config(self, overrides: list[str]) -> Config:
        return deepcopy(_config(tuple(overrides)))

    def settings(self, overrides: list[str]) -> dict[str, Any]:
        return deepcopy(_settings(tuple(overrides)))

    def usual_choices(self) -> dict[str, str]:
        return dict(_usual_choices())

    def _compose(self, overrides: list[str], *, with_hydra: bool = False) -> DictConfig:
        self.composed = super()._compose(overrides, with_hydra=with_hydra)
        return self.composed


@functools.cache
def _config(overrides: tuple[str, ...]) -> Config:
    return HydraComposer().config(list(overrides))


@functools.cache
def _settings(overrides: tuple[str, ...]) -> dict[str, Any]:
    return HydraComposer().settings(list(overrides))


@functools.cache
def _usual_choices() -> dict[str, str]:
    return HydraComposer().usual_choices()


@contextmanager
def composing() -> Iterator[Remembering]:
    """Hydra as the launcher starts it."""
    store_schemas()
    with hydra.initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield Remembering()


@functools.cache
def _composed(overrides: tuple[str, ...]) -> tuple[Experiment, DictConfig]:
    with composing() as composer:
        return composer.experiment(list(overrides)), composer.composed


def experiment_of(*overrides: str) -> tuple[Experiment, DictConfig]:
    """Of `python -m platform.launch OVERRIDES`, and what Hydra made of it."""
    return deepcopy(_composed(overrides))
