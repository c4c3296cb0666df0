"""Ray Tune's schedulers, as a sweep has them: who ends trials early, or has weak ones go on from strong ones."""

import contextlib
import math
import random
from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import (
    ASHAScheduler,
    FIFOScheduler,
    HyperBandScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
    TrialScheduler,
)

from platform.config.checks import ConfigError
from platform.config.identity import replaced
from platform.config.jobs import SweepConfig
from platform.tune.trial import SETTINGS

PAUSING = ("pbt", "hyperband")  # trials wait for others, and go on from a checkpoint


def scheduler_of(sweep: SweepConfig, epochs: float) -> TrialScheduler:
    """Ray Tune's scheduler. Scores of the last epoch come when a trial has ended, so none is ended by them."""
    last, grace = math.ceil(epochs), sweep.grace_epochs
    match sweep.scheduler:
        case "asha":  # Li et al., MLSys 2020
            return ASHAScheduler("epoch", max_t=last, grace_period=grace, reduction_factor=sweep.reduction)
        case "hyperband":  # Li et al., JMLR 2018
            return HyperBandScheduler("epoch", max_t=last, reduction_factor=sweep.reduction)
        case "median":  # Golovin et al., KDD 2017
            return MedianStoppingRule("epoch", grace_period=grace)
        case "pbt":  # Jaderberg et al., 2017
            return Population("epoch", perturbation_interval=grace, custom_explore_fn=Explore(sweep))
        case _:
            return FIFOScheduler()


class Population(PopulationBasedTraining):
    """PBT on trials that our searcher hands out. Ray refuses searchers, since most would learn from points that PBT has
    changed; those that are allowed here learn nothing."""

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Take a trial, whoever suggested it."""
        super().on_trial_add(SimpleNamespace(search_alg=None), trial)  # pyright: ignore[reportArgumentType]


class Explore:
    """PBT's changes: every mutable key times one of its factors."""

    def __init__(self, sweep: SweepConfig) -> None:
        self._factors, self._draws = sweep.mutations, random.Random(sweep.seed)

    def __call__(self, config: dict[str, Any]) -> dict[str, Any]:
        for key, factors in self._factors.items():
            value = config[key] * self._draws.choice(factors)
            with contextlib.suppress(ConfigError):  # a value that cannot be: it stays as it was
                replaced(config[SETTINGS], key, value)
                config[key] = value
        return config
