"""Learning rates: pure functions of the step. `rate(...)(step)` is the multiple of `optim.lr`."""

import math
from collections.abc import Callable

from platform.config.sections import ScheduleConfig
from platform.data.order import steps_of

Schedule = Callable[[int], float]


def rate(schedule: ScheduleConfig, steps_per_epoch: int, total_steps: int) -> Schedule:
    """The schedule over `total_steps`, its durations turned from epochs into steps once.

    The warm-up is linear and lies in front: the schedule proper counts from its end. Its end would be step
    `total_steps`, the first that is not done any more; every step counts alike so.
    """
    warmup = round(steps_of(schedule.warmup_epochs, steps_per_epoch))
    body = SCHEDULES[schedule.name](schedule, steps_per_epoch, max(1, total_steps - warmup))
    start = body(0)  # 1, but for one_cycle, which would fall there from what the warm-up has reached

    def at(step: int) -> float:
        return start * (step + 1) / warmup if step < warmup else body(step - warmup)

    return at


def step_decay(schedule: ScheduleConfig, steps_per_epoch: int, total_steps: int) -> Schedule:
    """times `factor` after every `every_epochs`: 4% down every 8 epochs in GoogLeNet, 0.94 every 2 in Inception-v3."""
    every = steps_of(schedule.every_epochs, steps_per_epoch)
    return lambda step: schedule.factor ** (step // every)


def constant(schedule: ScheduleConfig, steps_per_epoch: int, total_steps: int) -> Schedule:
    return lambda step: 1.0


def linear(schedule: ScheduleConfig, steps_per_epoch: int, total_steps: int) -> Schedule:
    return lambda step: 1 - (1 - schedule.final) * min(1.0, step / total_steps)


def cosine(schedule: ScheduleConfig, steps_per_epoch: int, total_steps: int) -> Schedule:
    """Half a cosine (Loshchilov and Hutter, arXiv 1608.03983, without restarts)."""
    return lambda step: _half_wave(1.0, schedule.final, min(1.0, step / total_steps))


def polynomial(schedule: ScheduleConfig, steps_per_epoch: int, total_steps: int) -> Schedule:
    """The share of the run that is left to a power, as Caffe's `poly`: 0.5 in its quick GoogLeNet
    (models/bvlc_googlenet/quick_solver.prototxt), 0.9 in DeepLab (arXiv 1606.00915), 2 in LARS (arXiv 1708.03888)."""
    return lambda step: schedule.final + (1 - schedule.final) * (1 - min(1.0, step / total_steps)) ** schedule.power


def one_cycle(schedule: ScheduleConfig, steps_per_epoch: int, total_steps: int) -> Schedule:
    """Up from `initial` to the whole rate in the share `rise` of the run, then down to `final`.

    Smith and Topin's policy (arXiv 1708.07120), which is straight up and down, in the shape and with the defaults of
    torch's OneCycleLR: half a cosine either way. The momentum stays as it is: they cycle it the other way round.
    """

    def at(step: int) -> float:
        done = min(1.0, step / total_steps)
        if done < schedule.rise:
            return _half_wave(schedule.initial, 1.0, done / schedule.rise)
        return _half_wave(1.0, schedule.final, (done - schedule.rise) / (1 - schedule.rise))

    return at


def _half_wave(start: float, end: float, done: float) -> float:
    """Half a cosine from `start` to `end`."""
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2


SCHEDULES: dict[str, Callable[[ScheduleConfig, int, int], Schedule]] = {
    "step_decay": step_decay,
    "constant": constant,
    "linear": linear,
    "cosine": cosine,
    "polynomial": polynomial,
    "one_cycle": one_cycle,
}
