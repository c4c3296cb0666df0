"""How many views a forward pass of evaluation takes: as many as fill a GPU, and fewer where its memory is short.

In: a function that makes a pass. Out: a number, or all of a pass's results. Scores depend on it by rounding alone.
"""

import logging
import time
import traceback
from collections.abc import Callable

import torch
from torch import Tensor

log = logging.getLogger("platform.evaluation")
MOST = 8192  # views that are tried: a batch of them in page-locked memory takes 1.2 GB at 224 px
WORTH = 1.05  # twice as many views have to give so many times the views a second
TRIED = 2  # passes at each number, after one that warms up


def largest_that_pays(
    run: Callable[[int], None],
    wait: Callable[[], None],
    free: Callable[[], None],
    clock: Callable[[], float] = time.perf_counter,
    *,
    begin: int,
) -> int:
    """How many views in a pass: twice as many as before, until memory is short or nothing is gained.

    Args:
        run: makes a pass of so many views.
        wait: until it is done.
        free: gives memory back after a pass that had too little.
        clock: seconds.
        begin: number that is tried first; where it is too much, half of it, a quarter ...

    Raises:
        torch.OutOfMemoryError: not even one view fits.
    """
    best, best_rate, views, most = 0, 0.0, begin, max(begin, MOST)
    while views <= most:
        try:
            rate = views / _seconds(run, wait, clock, views)
        except torch.OutOfMemoryError:
            free()
            if best:
                return best
            if views == 1:
                raise
            views = most = views // 2
            continue
        if rate < WORTH * best_rate:
            return best
        best, best_rate, views = views, rate, 2 * views
    return best


def _seconds(run: Callable[[int], None], wait: Callable[[], None], clock: Callable[[], float], views: int) -> float:
    """Of a pass, the mean of some."""
    run(views)
    wait()
    began = clock()
    for _ in range(TRIED):
        run(views)
    wait()
    return (clock() - began) / TRIED


class Passes:
    """Forward passes over batches of images: whole ones, and in parts from the first on that memory is too short for.

    Args:
        images: at most, in one pass.
        views: of each image.
    """

    def __init__(self, images: int, views: int) -> None:
        self.images, self._views = images, views

    def of(self, batch: Tensor, run: Callable[[Tensor], Tensor]) -> Tensor:
        """What `run` gives for all of a batch, the first dimension of both.

        Raises:
            torch.OutOfMemoryError: not even one image fits.
        """
        while True:
            try:
                parts = [run(part) for part in batch.split(self.images)]
                return parts[0] if len(parts) == 1 else torch.cat(parts)
            except torch.OutOfMemoryError as error:
                tried = min(self.images, len(batch))
                if tried == 1:
                    raise
                traceback.clear_frames(error.__traceback__)  # of what the pass had in memory
                self.images = -(-tried // 2)
                log.warning(
                    "evaluation: out of memory with %d views in a forward pass; %d at a time from here on, as "
                    "evaluation.batch_size=%d has them",
                    tried * self._views,
                    self.images * self._views,
                    self.images * self._views,
                )
                torch.cuda.empty_cache()  # nothing, where CUDA is not in use
