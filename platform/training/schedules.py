"""Learning-rate schedules: pure functions of the step, whose value is the multiple of `optim.lr`.

A new one is a function here, and its line in `platform/config/choices.py`. Each takes the settings, the steps of an
epoch and the steps it has: those of the run after the warm-up.
"""

import bisect
import itertools
import math
from collections.abc import Callable

from platform.config.choices import SCHEDULES, chosen
from platform.config.optim import ScheduleConfig
from platform.data.order import steps_of

Schedule = Callable[[int], float]


def lr_factor(schedule: ScheduleConfig, steps_per_epoch: int, total_steps: int) -> Schedule:
    """The schedule `schedule.name` with its warm-up: global step, counted from 0 -> multiple of `optim.lr`.

    The warm-up is linear and comes first; the schedule proper counts steps from its end, and would reach its final
    value at step `total_steps`, one after the last. Durations in epochs become steps here, once.
    """
    warmup = round(steps_of(schedule.warmup_epochs, steps_per_epoch))
    body = chosen(SCHEDULES[schedule.name])(schedule, steps_per_epoch, max(1, total_steps - warmup))
    start = body(0)  # 1, but for one_cycle, which would fall there from what the warm-up has reached

    def at(step: int) -> float:
        return start * (step + 1) / warmup if step < warmup else body(step - warmup)

    return at


def step_decay(schedule: ScheduleConfig, steps_per_epoch: int, total_steps: int) -> Schedule:
    """Times `factor` after every `every_epochs`: 4% down every 8 epochs in GoogLeNet, 0.94 every 2 in Inception-v3."""
    every = steps_of(schedule.every_epochs, steps_per_epoch)
    return lambda step: schedule.factor ** (step // every)


def constant(schedule: ScheduleConfig, steps_per_epoch: int, total_steps: int) -> Schedule:
    """`optim.lr` throughout."""
    return lambda step: 1.0


def linear(schedule: ScheduleConfig, steps_per_epoch: int, total_steps: int) -> Schedule:
    """A straight line from 1 to `final`."""
    return lambda step: 1 - (1 - schedule.final) * min(1.0, step / total_steps)


def cosine(schedule: ScheduleConfig, steps_per_epoch: int, total_steps: int) -> Schedule:
    """Half a cosine from 1 to `final` (Loshchilov and Hutter, arXiv 1608.03983, without restarts)."""
    return lambda step: _half_wave(1.0, schedule.final, min(1.0, step / total_steps))


def polynomial(schedule: ScheduleConfig, steps_per_epoch: int, total_steps: int) -> Schedule:
    """The share of the run that is left, to the power `power`; Caffe's `poly`.

    0.5 in Caffe's quick GoogLeNet (models/bvlc_googlenet/quick_solver.prototxt), 0.9 in DeepLab (arXiv 1606.00915), 2
    in LARS (arXiv 1708.03888).
    """
    return lambda step: schedule.final + (1 - schedule.final) * (1 - min(1.0, step / total_steps)) ** schedule.power


def one_cycle(schedule: ScheduleConfig, steps_per_epoch: int, total_steps: int) -> Schedule:
    """Up from `initial` to 1 in the first share `rise` of the run, then down to `final`; half a cosine each.

    Smith and Topin's policy (arXiv 1708.07120) with the shape and defaults of torch's OneCycleLR; theirs is piecewise
    linear. Momentum is constant here; they cycle it in the opposite direction.
    """

    def at(step: int) -> float:
        done = min(1.0, step / total_steps)
        if done < schedule.rise:
            return _half_wave(schedule.initial, 1.0, done / schedule.rise)
        return _half_wave(1.0, schedule.final, (done - schedule.rise) / (1 - schedule.rise))

    return at


def cosine_restarts(schedule: ScheduleConfig, steps_per_epoch: int, total_steps: int) -> Schedule:
    """Half a cosine from 1 to `final` in each of `cycles` (SGDR, arXiv 1608.03983).

    Of equal cycles it is the schedule of snapshot ensembles (Huang et al., arXiv 1704.00109): the network at the end of
    each is a member.
    """
    ends = _cycle_ends(schedule, total_steps)

    def at(step: int) -> float:
        cycle = bisect.bisect_right(ends, min(step, total_steps - 1))
        start = ends[cycle - 1] if cycle else 0
        return _half_wave(1.0, schedule.final, min(1.0, (step - start) / (ends[cycle] - start)))

    return at


def cycle_ends(schedule: ScheduleConfig, steps_per_epoch: int, total_steps: int) -> list[int]:
    """How many global steps of the run are done when each cycle of `cosine_restarts` is; the last at `total_steps`."""
    warmup = round(steps_of(schedule.warmup_epochs, steps_per_epoch))
    return [warmup + end for end in _cycle_ends(schedule, max(1, total_steps - warmup))]


def _cycle_ends(schedule: ScheduleConfig, total_steps: int) -> list[int]:
    """The same without the warm-up. Where there are more cycles than steps, some are of no step, and left out."""
    longest = schedule.cycles - 1 if schedule.cycle_growth > 1 else 0  # in units of which no length overflows
    lengths = [schedule.cycle_growth ** (cycle - longest) for cycle in range(schedule.cycles)]
    sums = list(itertools.accumulate(lengths))
    return sorted({round(total_steps * done / sums[-1]) for done in sums} - {0})


def _half_wave(start: float, end: float, done: float) -> float:
    """Half a cosine from `start` to `end`."""
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2
