"""Configs composed as the launcher does it, in this process."""

from collections.abc import Iterator
from contextlib import contextmanager

import hydra
from hydra.core.config_store import ConfigStore

from platform.checkout import ROOT
from platform.compose.composer import HydraComposer
from platform.config.sections import Config, Experiment


@contextmanager
def composing() -> Iterator[HydraComposer]:
    """Hydra as the launcher starts it."""
    ConfigStore.instance().store("schema", Config)
    with hydra.initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield HydraComposer()


def experiment_of(*overrides: str) -> Experiment:
    """Of `python -m platform.launch OVERRIDES`."""
    with composing() as composer:
        return composer.experiment(list(overrides))
