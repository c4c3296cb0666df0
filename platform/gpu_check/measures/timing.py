"""Seconds that something takes on a device: warmed up, several times, whole device time."""

import time
from collections.abc import Callable

import torch

from platform.gpu_check.context import Context, synchronise

WARM_UP = 3  # calls; more where something is compiled, which the first does
MOST_CALLS = 1000  # of a repeat


def seconds_of_a_call(context: Context, call: Callable[[], object]) -> list[float]:
    """One value a repeat: of as many calls as fill `repeat_s`, from when the device has nothing to do until it has done
    them."""
    for _ in range(WARM_UP):
        call()
    one_s = _of(context.device, call, 1)
    calls = max(1, min(MOST_CALLS, round(context.sizes.repeat_s / max(one_s, 1e-6))))
    return [_of(context.device, call, calls) / calls for _ in range(context.sizes.repeats)]


def _of(device: torch.device, call: Callable[[], object], times: int) -> float:
    synchronise(device)
    began = time.perf_counter()
    for _ in range(times):
        call()
    synchronise(device)
    return time.perf_counter() - began
