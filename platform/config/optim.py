"""`optim` and `schedule`: the optimiser, and the learning rate over the run."""

import math
from dataclasses import dataclass

from platform.config.checks import (
    require,
    require_at_least,
    require_choice,
)
from platform.config.choices import OPTIMISERS, SCHEDULES


@dataclass
class OptimConfig:
    """The optimiser."""

    name: str = "sgd"  # of OPTIMISERS
    lr: float = 0.01  # learning rate, which `schedule` multiplies
    momentum: float = 0.9  # 0: plain gradient descent
    nesterov: bool = False  # Nesterov's momentum
    weight_decay: float = 2e-4  # of weights; biases and normalisation have none
    clip_norm: float = 0.0  # largest norm of the whole gradient; 0: not clipped

    def __post_init__(self) -> None:
        require_choice("optim.name", self.name, OPTIMISERS)
        require(self.lr > 0, f"optim.lr is {self.lr}; give more than 0")
        require(0 <= self.momentum < 1, f"optim.momentum is {self.momentum}; give a share in [0, 1)")
        require(not self.nesterov or self.momentum > 0, "optim.nesterov needs optim.momentum above 0; it is 0")
        require_at_least("optim.weight_decay", self.weight_decay, 0)
        require_at_least("optim.clip_norm", self.clip_norm, 0)


@dataclass
class ScheduleConfig:
    """The learning rate as a multiple of `optim.lr` over the run."""

    name: str = "step_decay"  # of SCHEDULES
    factor: float = 0.96  # step_decay: the learning rate is multiplied by this ...
    every_epochs: float = 8.0  # ... every 8 epochs (GoogLeNet)
    # linear, cosine, polynomial, one_cycle: multiple of optim.lr at the end; cosine_restarts: of every cycle
    final: float = 0.0
    power: float = 2.0  # polynomial: exponent of the share of the run that is left; 1: linear
    initial: float = 0.04  # one_cycle: multiple of optim.lr at the start
    rise: float = 0.3  # one_cycle: share of the run, after the warm-up, until optim.lr is reached
    cycles: int = 5  # cosine_restarts: parts of the run after the warm-up, each a cosine of its own
    cycle_growth: float = 1.0  # cosine_restarts: each cycle is so many times as long as the one before
    warmup_epochs: float = 0.0  # linear from 0 to where the schedule starts, before any schedule

    def __post_init__(self) -> None:
        require_choice("schedule.name", self.name, SCHEDULES)
        require(0 < self.factor <= 1, f"schedule.factor is {self.factor}; give a share in (0, 1]")
        every, warmup = self.every_epochs, self.warmup_epochs
        require(
            0 < every < math.inf, f"schedule.every_epochs is {every}; give more than 0, and less than infinitely many"
        )
        require(0 <= self.final <= 1, f"schedule.final is {self.final}; give a share in [0, 1]")
        require(0 < self.power < math.inf, f"schedule.power is {self.power}; give more than 0, such as 0.5, 1 or 2")
        require(0 <= self.initial <= 1, f"schedule.initial is {self.initial}; give a share in [0, 1]")
        require(0 < self.rise < 1, f"schedule.rise is {self.rise}; give a share between 0 and 1")
        require_at_least("schedule.cycles", self.cycles, 1)
        growth = self.cycle_growth
        require(0.1 <= growth <= 10, f"schedule.cycle_growth is {growth}; give 0.1 to 10, such as 1 or 2")
        require(0 <= warmup < math.inf, f"schedule.warmup_epochs is {warmup}; give at least 0, and not infinitely many")
