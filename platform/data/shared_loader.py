"""The training batches of several members that see the same images in the same order: each image is decoded once.

In: one order, and of each member how it draws crops. Out: a batch for each member at each step, with the bits that a
`TrainLoader` of its own would give it for that order and those draws. The members' images lie in one buffer.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from platform.config.data import DataConfig
from platform.config.sampling import SamplingConfig
from platform.data import draws
from platform.data.batch import Batch
from platform.data.decode import Box, CorruptImage, EncodedImage
from platform.data.index import Split
from platform.data.loader import Part
from platform.data.order import Order
from platform.data.resize import resize_into
from platform.data.sampling import DRAWS, Crop, crop
from platform.data.train_loader import TrainLoader

# What decoding costs, in pixels of a box (inverse DCT, colours): measured on photographs of 500x375 pixels, where a
# pixel costs 1.9 ns, Huffman decoding 4.1 ns for each pixel down to the bottom of the box, and a call 30 microseconds.
DOWN_TO_THE_BOTTOM = 2.2
A_CALL = 16_000


@dataclass(frozen=True)
class MemberDraws:
    """How one member draws its crops."""

    sampling: SamplingConfig
    seed: int  # of its draws: its own, where the order is everyone's
    draw_count: int = DRAWS  # see `sampling.draws_used`


class SharedLoader(TrainLoader):
    """`TrainLoader` for several members at once; `member_steps` has their batches. It decodes on CPU.

    Args:
        split: the shards.
        order: of the samples, for all members.
        data: size and classes of the images.
        members: at least one.
        options: `rank`, `world`, `threads`, `prefetch`, `pin` and `sizes` of `TrainLoader`.

    Raises:
        ConfigError: the shards that are read at the same time do not fit into the cache.
    """

    def __init__(
        self, split: Split, order: Order, data: DataConfig, members: Sequence[MemberDraws], **options: Any
    ) -> None:
        most = max(member.draw_count for member in members)
        super().__init__(split, order, data, members[0].sampling, draw_count=most, **options)
        self._members = list(members)

    def member_steps(self, start: int, stop: int) -> Iterator[list[Batch]]:
        """The members' batches of this worker's share of the global batches `start` .. `stop` - 1; raises what
        `batches` does. A corrupt sample is counted once."""
        for step, batch in zip(range(start, stop), self.steps(start, stop), strict=True):
            yield [self._of_member(number, batch, step) for number in range(len(self._members))]

    def _of_member(self, number: int, batch: Batch, step: int) -> Batch:
        """One member's part of the batch of all: views of it."""
        count, member = len(batch.ids_N) // len(self._members), self._members[number]
        own = slice(number * count, (number + 1) * count)
        return replace(
            batch,
            images=batch.images[own],
            labels_N=batch.labels_N[own],
            ids_N=batch.ids_N[own],
            valid_N=batch.valid_N[own],
            mirrored_N=batch.mirrored_N[own],
            draws_ND=batch.draws_ND[own, : member.draw_count],
            step_draws=self._of_step(step, member.seed, member.draw_count),
        )

    def _step(self, step: int) -> Batch:
        """An empty batch of all members, one after the other."""
        self._ahead.at(step)
        shown, size = self._order.showings(step, self._rank, self._world), self._sizes.at(step)
        drawn = [
            draws.uniforms(member.seed, shown.epochs, shown.ids, self._draw_count, shown.showings)
            for member in self._members
        ]
        ids = np.tile(shown.ids, len(self._members))
        batch = self.request(ids, np.concatenate(drawn), (size, size, 3))
        batch.per_stream, batch.repeats = self._order.per_stream, self._order.repeats
        return batch

    def _submit(self, batch: Batch) -> list[Future[Part]]:
        """Cut the images, not the places of all members, into about three parts a thread."""
        count = len(batch.ids_N) // len(self._members)
        parts = np.array_split(np.arange(count), min(count, 3 * self._threads))
        return [self._pool.submit(self._timed_fill, batch, part.tolist()) for part in parts]

    def _fill(self, batch: Batch, places: list[int]) -> list[str]:
        """Decode the samples at `places` of the first member for all of them; the messages of those that cannot be."""
        errors = []
        count, labels, valid = len(batch.ids_N) // len(self._members), batch.labels_N.numpy(), batch.valid_N.numpy()
        for first, sample in self._samples(batch, places):
            of_all = range(first, len(batch.ids_N), count)
            labels[of_all] = sample.label
            valid[of_all] = True
            try:
                self._render_crops(batch, of_all, EncodedImage(sample.image))
            except CorruptImage:  # perhaps only in parts that not all members show
                errors += self._one_by_one(batch, of_all, sample)[:1]
        return errors

    def _one_by_one(self, batch: Batch, places: range, sample: Any) -> list[str]:
        """Each member's crop as its own loader would decode it; the messages of those that cannot be."""
        errors = []
        for place in places:
            try:
                self._put(batch, place, sample)
            except CorruptImage as error:
                errors.append(self._left_out(batch, place, sample, error))
        return errors

    def _render_crops(self, batch: Batch, places: range, image: EncodedImage) -> None:
        """Decode an image once, or as often as is faster, for the crops at these places."""
        views = [self._crop(batch, place, image) for place in places]
        boxes = [view.box for view in views]
        around = union(boxes)
        pixels = image.decode(around) if pays(boxes, around, image.width) else None
        for place, view in zip(places, views, strict=True):
            box = view.box
            own = image.decode(box) if pixels is None else inside(pixels, around, box)
            resize_into(batch.images[place], own, view.interpolation)
            batch.mirrored_N[place] = view.mirrored

    def _crop(self, batch: Batch, place: int, image: EncodedImage) -> Crop:
        member = self._members[place * len(self._members) // len(batch.ids_N)]
        return crop(member.sampling, self._data, image.width, image.height, batch.draws_ND[place].tolist())


def union(boxes: Sequence[Box]) -> Box:
    """The smallest box with all of these in it."""
    return Box(
        min(box.left for box in boxes),
        min(box.top for box in boxes),
        max(box.right for box in boxes),
        max(box.bottom for box in boxes),
    )


def pays(boxes: Sequence[Box], around: Box, width: int) -> bool:
    """Whether decoding the box around all is expected to be faster than decoding each.

    Args:
        boxes: of crops.
        around: them all.
        width: of the image in pixels.
    """
    return cost(around, width) <= sum(cost(box, width) for box in boxes)


def cost(box: Box, width: int) -> float:
    """What decoding a box of a JPEG costs, in pixels."""
    return box.size[0] * box.size[1] + DOWN_TO_THE_BOTTOM * box.bottom * width + A_CALL


def inside(pixels: NDArray[np.uint8], around: Box, box: Box) -> NDArray[np.uint8]:
    """The pixels of `box` from those of the box around it: a view `[H, W, 3]`."""
    return pixels[box.top - around.top : box.bottom - around.top, box.left - around.left : box.right - around.left]
