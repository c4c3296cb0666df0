"""Images in two halves: what is chosen on one is scored on the other, so that no score is of what was maximised."""

import numpy as np
from numpy.typing import NDArray

from platform.data.draws import uniforms

SPLIT_SEED = 0x5E1EC7  # fixed: whatever is chosen on the same images is chosen on the same half of them


def selecting_half(samples: int) -> NDArray[np.bool_]:
    """`[N]`: the half of the images that selects, rounded up. A pure function of their number."""
    order_N = uniforms(SPLIT_SEED, 0, np.arange(samples, dtype=np.int64), 1)[:, 0].argsort(kind="stable")
    half_N = np.zeros(samples, np.bool_)
    half_N[order_N[: (samples + 1) // 2]] = True
    return half_N
