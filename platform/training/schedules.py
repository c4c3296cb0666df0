"""Learning rates: pure functions of the step. `rate(...)(step)` is the multiple of `optim.lr`."""

import math
from collections.abc import Callable

from platform.config import ScheduleConfig

Schedule = Callable[[int], float]


def rate(schedule: ScheduleConfig, steps_per_epoch: int, total_steps: int) -> Schedule:
    """The schedule over `total_steps`, its durations turned from epochs into steps once.

    The warm-up is linear and lies in front: the schedule proper counts from its end.
    """
    warmup = round(schedule.warmup_epochs * steps_per_epoch)
    body = SCHEDULES[schedule.name](schedule, steps_per_epoch, max(1, total_steps - warmup))

    def at(step: int) -> float:
        return (step + 1) / warmup if step < warmup else body(step - warmup)

    return at


def step_decay(schedule: ScheduleConfig, steps_per_epoch: int, total_steps: int) -> Schedule:
    """times `factor` after every `every_epochs`: 4% down every 8 epochs in GoogLeNet, 0.94 every 2 in Inception-v3."""
    every = schedule.every_epochs * steps_per_epoch
    return lambda step: schedule.factor ** math.floor(step / every)


def constant(schedule: ScheduleConfig, steps_per_epoch: int, total_steps: int) -> Schedule:
    return lambda step: 1.0


def linear(schedule: ScheduleConfig, steps_per_epoch: int, total_steps: int) -> Schedule:
    return lambda step: 1 - (1 - schedule.final) * min(1.0, step / total_steps)


def cosine(schedule: ScheduleConfig, steps_per_epoch: int, total_steps: int) -> Schedule:
    """Half a cosine (Loshchilov and Hutter, arXiv 1608.03983, without restarts)."""
    return lambda step: (
        schedule.final + (1 - schedule.final) * (1 + math.cos(math.pi * min(1.0, step / total_steps))) / 2
    )


SCHEDULES: dict[str, Callable[[ScheduleConfig, int, int], Schedule]] = {
    "step_decay": step_decay,
    "constant": constant,
    "linear": linear,
    "cosine": cosine,
}
