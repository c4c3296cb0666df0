"""When and at what `job=chaos` strikes: drawn once from a seed, so that a run can be had again."""

import random
from dataclasses import dataclass

from platform.config.checks import ConfigError
from platform.config.jobs import ChaosConfig

FIRST, LAST = 0.05, 0.6  # of the work: before, there may be nothing to lose; after, it may be over too soon


@dataclass(frozen=True)
class Strike:
    """One thing that is done to a run."""

    step: int  # when so many steps are done, over all members
    target: str
    draw: float  # in [0, 1): which of several


def draw_strikes(chaos: ChaosConfig, steps: int) -> list[Strike]:
    """The strikes at a run of `steps` steps over all members, in order.

    Raises:
        ConfigError: it is too short for them.
    """
    draws = random.Random(chaos.seed)
    if chaos.steps:
        at = sorted(chaos.steps)
        if at[-1] >= steps:
            raise ConfigError(f"chaos.steps has {at[-1]}, the run has {steps} steps; give less")
    else:
        places = range(max(1, int(FIRST * steps)), max(2, int(LAST * steps)))
        if len(places) < chaos.kills:
            raise ConfigError(f"chaos.kills is {chaos.kills}, more than {steps} steps have room for; train for longer")
        at = sorted(draws.sample(places, chaos.kills))
    # Every target in turn, in a drawn order, so that few strikes still meet all of them.
    targets: list[str] = []
    while len(targets) < len(at):
        targets += draws.sample(chaos.targets, len(chaos.targets))
    return [Strike(step, target, draws.random()) for step, target in zip(at, targets, strict=False)]
