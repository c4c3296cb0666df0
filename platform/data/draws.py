"""Random numbers as a function of (seed, epoch, sample, showing): whoever reads a sample, and when, draws the same.

A counter-based generator (SplitMix64's finaliser, Steele et al., OOPSLA 2014) over whole arrays: no state to save.
"""

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_TO_UNIT = 2.0**-53


def uniforms(seed: int, epoch: int | Ints, ids: Ints, count: int, showings: int | Ints = 0) -> NDArray[np.float64]:
    """Draw `count` numbers in [0, 1) for each sample.

    Args:
        seed: any integer; its lower 64 bits count.
        epoch: counted from 0; one, or one for each sample `[N]`.
        ids: sample ids `[N]`.
        count: numbers for each.
        showings: how often the epoch has shown the sample before; one, or one for each `[N]`. A sample that comes again
            in its epoch is another crop.

    Returns:
        float64 `[N, count]`.
    """
    key = _mix(_mix(np.array([seed & 0xFFFFFFFFFFFFFFFF], np.uint64)) ^ np.asarray(epoch, np.uint64))
    state = _mix(_mix(ids.astype(np.uint64) + key) + key)
    again = np.atleast_1d(np.asarray(showings, np.uint64))
    if again.any():
        state = np.where(again > 0, _mix(state ^ _mix(again)), state)
    steps = np.arange(1, count + 1, dtype=np.uint64) * _GAMMA
    return (_mix(state[:, None] + steps) >> np.uint64(11)).astype(np.float64) * _TO_UNIT


def key(*parts: int) -> int:
    """Mix several integers into one 64-bit seed; their order counts."""
    value = np.zeros(1, np.uint64)
    for part in parts:
        value = _mix(value ^ np.uint64(part & 0xFFFFFFFFFFFFFFFF))
    return int(value[0])


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    x = x + _GAMMA
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
