"""How large the images of each training step are: `training.sizes` turned into global steps, once.

In: shares of the run and sizes. Out: the size in pixels at a step. Which samples a step has, and which part of each
image it shows, does not depend on it.
"""

import math
from bisect import bisect_right
from dataclasses import dataclass

from platform.data.order import steps_of


@dataclass(frozen=True)
class ImageSizes:
    """Sizes in pixels, each way, and the global steps from which on training has them."""

    starts: tuple[int, ...]  # the first is 0
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, sizes: list[list[float]], image_size: int, last_step: int) -> "ImageSizes":
        """The sizes of a run of `last_step` steps.

        Args:
            sizes: `training.sizes`; empty: all are `image_size`.
            image_size: `data.image_size`.
            last_step: global steps of the whole run.
        """
        if not sizes:
            return cls((0,), (image_size,))
        return cls(
            tuple(math.ceil(steps_of(share, last_step)) for share, _ in sizes), tuple(int(size) for _, size in sizes)
        )

    def at(self, step: int) -> int:
        """The size of the images of global step `step`, counted from 0."""
        return self.sizes[bisect_right(self.starts, step) - 1]

    def work(self, image_size: int, last_step: int) -> float:
        """Pixels of the whole run, against one whose images all have `image_size`."""
        ends = (*self.starts[1:], last_step)
        pixels = sum((end - start) * size**2 for start, end, size in zip(self.starts, ends, self.sizes, strict=True))
        return pixels / (last_step * image_size**2)

    def text(self) -> str:
        """For a plan: `160 px, 192 px from step 500, 224 px from step 800`."""
        first, *later = zip(self.starts, self.sizes, strict=True)
        return ", ".join([f"{first[1]} px", *(f"{size} px from step {start}" for start, size in later)])
