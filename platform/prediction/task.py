"""What every block of images needs to become rows, in whatever process.

In: images, model, settings. Out: the blocks, and what their rows depend on.
"""

from dataclasses import dataclass

from platform.prediction.images import Images
from platform.prediction.model import Model
from platform.prediction.parts import Columns, Work

BLOCK_VIEWS, BLOCK_IMAGES = 20_000, 1024  # of a block at most: what an interruption costs


@dataclass(frozen=True)
class Task:
    """Images and the model that classifies them. Picklable."""

    images: Images
    model: Model
    views: int
    top_k: int
    batch_size: int  # views

    @property
    def block(self) -> int:
        """Images of a block."""
        return max(1, min(BLOCK_IMAGES, BLOCK_VIEWS // self.views))

    @property
    def blocks(self) -> list[range]:
        """All images, in order."""
        size, total = self.block, len(self.images)
        return [range(first, min(first + size, total)) for first in range(0, total, size)]

    @property
    def columns(self) -> Columns:
        return Columns(self.model.description, self.top_k)

    def work(self) -> Work:
        """What the rows depend on. Reads the model's files, and the sizes of the images'."""
        return Work(
            images=len(self.images),
            images_digest=self.images.digest(),
            model=self.model.name,
            model_digest=self.model.digest(),
            views=self.views,
            top_k=self.top_k,
            block=self.block,
        )
