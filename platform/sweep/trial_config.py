"""A trial's config: the experiment's with the overrides of a point and a seed.

In: an experiment, a point, the number of a seed. Out: overrides, and the config that they compose to.
"""

from platform.config.checks import ConfigError
from platform.config.experiment import Experiment
from platform.config.sections import Config
from platform.sweep.space import overrides
from platform.sweep.trial_store import Point


def overrides_of(config: Config, point: Point, seed: int) -> list[str]:
    """The overrides that make a trial of the experiment: those of its point, and the experiment's seed plus `seed`."""
    return [*overrides(point), f"seed={config.seed + seed}"]


def composed(experiment: Experiment, point: Point, seed: int) -> Config:
    """The config of a trial.

    Raises:
        ConfigError: a key that does not exist, or a value that cannot work, named with its point.
    """
    try:
        return experiment.variant(overrides_of(experiment.config, point, seed))
    except ConfigError as error:
        raise ConfigError(f"sweep.space, at {', '.join(overrides(point))}: {error}") from error
