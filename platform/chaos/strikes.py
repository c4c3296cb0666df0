"""Which faults `job=chaos` injects, and when: drawn from a seed, so that a run can be repeated."""

import random
from dataclasses import dataclass

from platform.config.checks import ConfigError
from platform.config.jobs import ChaosConfig

FIRST, LAST = 0.05, 0.6  # share of the work: earlier there is nothing to lose, later the run may end too soon


@dataclass(frozen=True)
class Strike:
    """One fault."""

    step: int  # injected when so many steps are done, over all members
    target: str
    draw: float  # in [0, 1): chooses one of several workers


def draw_strikes(chaos: ChaosConfig, steps: int) -> list[Strike]:
    """Draw the faults of a run of `steps` steps over all members, in order.

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
