"""The training batches of one worker, from any global step on.

In: a split, its order, how crops are drawn. Out: uint8 crops. The next sample in the index takes the place of one that
cannot be decoded.
"""

import time
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from platform.config.data import DataConfig
from platform.config.sampling import SamplingConfig
from platform.data import draws
from platform.data.batch import Batch
from platform.data.cache import ShardError
from platform.data.decode import CorruptImage, EncodedImage
from platform.data.image_sizes import ImageSizes
from platform.data.index import Split
from platform.data.loader import CPU, Loader
from platform.data.order import Order
from platform.data.readahead import OrderAhead
from platform.data.reader import Sample
from platform.data.resize import resize_into
from platform.data.sampling import DRAWS, Crop, crop


class TrainLoader(Loader):
    """The training batches of one worker, from any global step on.

    Args:
        split: the shards.
        order: of the samples.
        data: size and classes of the images, and the limit of corrupt ones.
        sampling: how crops are drawn.
        rank: of the worker.
        world: number of workers.
        threads: how many samples are decoded at a time.
        prefetch: batches decoded ahead.
        pin: batches in page-locked memory.
        device: where the images are.
        sizes: of the images at each step; None: `data.image_size`.
        draw_count: how many draws each sample has, see `sampling.draws_used`.
        draw_seed: of crops and colours; None: the order's.

    Raises:
        ConfigError: the shards that are read at the same time do not fit into the cache.
    """

    def __init__(
        self,
        split: Split,
        order: Order,
        data: DataConfig,
        sampling: SamplingConfig,
        *,
        rank: int = 0,
        world: int = 1,
        threads: int = 1,
        prefetch: int = 4,
        pin: bool = False,
        device: torch.device = CPU,
        sizes: ImageSizes | None = None,
        draw_count: int = DRAWS,
        draw_seed: int | None = None,
    ) -> None:
        self._sizes = sizes or ImageSizes.of([], data.image_size, 1)
        size = data.image_size
        super().__init__(
            split,
            (size, size, 3),
            self._render_crop,
            classes=data.classes,
            threads=threads,
            prefetch=prefetch,
            max_corrupt=data.max_corrupt,
            pin=pin,
            device=device,
        )
        self._order, self._data, self._sampling = order, data, sampling
        self._rank, self._world, self._draw_count = rank, world, draw_count
        self._draw_seed = order.seed if draw_seed is None else draw_seed
        self._ahead = OrderAhead(split, order, rank, world)
        self.waited_s = 0.0  # seconds that `steps` has waited for batches

    def close(self) -> None:
        """End the threads of decoding and read-ahead."""
        self._ahead.close()
        super().close()

    def counts(self) -> dict[str, float]:
        """Metrics of the data: corrupt samples of this pass, and this process's traffic so far."""
        traffic = self._split.opened.cache.storage.traffic
        return {
            "data/corrupt_samples": self.corrupt.count,
            "data/fetched_gb": traffic.bytes / 1e9,
            "data/fetch_retries": traffic.retries,
        }

    def steps(self, start: int, stop: int) -> Iterator[Batch]:
        """Yield this worker's share of the global batches `start` .. `stop` - 1; raises what `batches` does."""
        batches = self.batches(self._step(step) for step in range(start, stop))
        for step in range(start, stop):
            if step % self._order.steps_per_epoch == 0:
                self.corrupt.count = 0  # a new pass
            asked = time.perf_counter()
            batch = next(batches)
            self.waited_s += time.perf_counter() - asked
            yield batch

    def _step(self, step: int) -> Batch:
        self._ahead.at(step)
        shown, size = self._order.showings(step, self._rank, self._world), self._sizes.at(step)
        drawn = draws.uniforms(self._draw_seed, shown.epochs, shown.ids, self._draw_count, shown.showings)
        batch = self.request(shown.ids, drawn, (size, size, 3))
        batch.per_stream, batch.repeats = self._order.per_stream, self._order.repeats
        batch.step_draws = self._of_step(step, self._draw_seed, self._draw_count)
        return batch

    def _of_step(self, step: int, seed: int, count: int) -> NDArray[np.float64]:
        """Draws of a whole step: float64 `[count]`."""
        epoch = step // self._order.steps_per_epoch
        return draws.uniforms(draws.key(seed, 0), epoch, np.array([step]), count)[0]

    def _crop(self, batch: Batch, place: int, image: EncodedImage) -> Crop:
        return crop(self._sampling, self._data, image.width, image.height, batch.draws_ND[place].tolist())

    def _left_out(self, batch: Batch, place: int, sample: Sample, error: CorruptImage) -> str:
        """Put the next sample of its set that can be decoded in its place, with the crop and colours drawn for it.

        The index alone decides which one, so any number of workers trains on the same one. Every batch is whole: means,
        gradients and batch norm's statistics are those of real images.
        """
        first, limit = int(batch.ids_N[place]), self.corrupt.limit
        others = self._split.others(first)
        for distance in range(1, min(limit + 1, others) + 1):
            other_id = self._split.after(first, distance)
            other = self._read(other_id)
            try:
                self._put(batch, place, other)
            except CorruptImage:
                continue  # it is counted when its own turn comes
            batch.ids_N[place], batch.labels_N[place], batch.valid_N[place] = other_id, other.label, True
            return f"{sample.key}: {error}; {other.key} takes its place"
        raise ShardError(
            f"sample {sample.key} cannot be decoded ({error}), and none of the next "
            f"{min(limit + 1, others)} can take its place (data.max_corrupt={limit}); mend the shards "
            "or raise the limit"
        )

    def _put(self, batch: Batch, place: int, sample: Sample) -> None:
        """Decode a sample into its place."""
        self._render_crop(batch, place, EncodedImage(sample.image))

    def _render_crop(self, batch: Batch, place: int, image: EncodedImage) -> None:
        view = self._crop(batch, place, image)
        resize_into(batch.images[place], image.decode(view.box), view.interpolation)
        batch.mirrored_N[place] = view.mirrored
