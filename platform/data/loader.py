"""Shards to batches of uint8 images: threads decode into one shared buffer a few batches ahead.

All decoders release the GIL, so threads scale like processes and copy nothing. Samples that cannot be decoded are
counted and named; beyond `data.max_corrupt` the loader raises. In training the next sample in the index replaces such a
sample, in evaluation it is masked.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from platform.config.data import DataConfig
from platform.config.sampling import SamplingConfig
from platform.data import draws
from platform.data.cache import ShardError
from platform.data.decode import CorruptImage, EncodedImage
from platform.data.image_sizes import ImageSizes
from platform.data.index import Split
from platform.data.order import Order
from platform.data.readahead import OrderAhead
from platform.data.reader import Sample
from platform.data.resize import resize_into
from platform.data.sampling import COLOUR_DRAWS, DRAWS, DROPOUT_DRAW, Crop, crop

log = logging.getLogger("platform.data")
CPU = torch.device("cpu")


@dataclass
class Batch:
    """Samples on the host; in training on a GPU what a step reads of them is there (see `training.device_feed`). In
    evaluation a corrupt sample's image is black, its label 0 and its `valid_N` false."""

    images: Tensor  # training [N, H, W, 3], evaluation [N, U, H, W, 3]; uint8
    labels_N: Tensor  # int64
    ids_N: Tensor  # int64, places in the index
    valid_N: Tensor  # bool
    mirrored_N: Tensor  # bool
    draws_ND: NDArray[np.float64]  # uniform in [0, 1), see `sampling`; none in evaluation
    per_stream: int = 1  # so many in a row are of one stream
    step_draws: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))  # as many of a global batch
    repeats: int = 1  # so many in a row show the same sample
    teacher_logs_NK: Tensor | None = None  # float16, of a teacher's probabilities; None: there is no teacher

    @property
    def colour_draws_N8(self) -> Tensor:
        """Draws for `pixels.distort`: float32 `[N, 8]` in [0, 1)."""
        below_one = np.nextafter(np.float32(1), np.float32(0))  # to which no draw may round
        return self._pinned(torch.from_numpy(np.minimum(self.draws_ND[:, COLOUR_DRAWS].astype(np.float32), below_one)))

    @property
    def dropout_keys_N(self) -> Tensor:
        """A random number for each sample's dropout masks: int64 `[N]`."""
        return self._pinned(torch.from_numpy((self.draws_ND[:, DROPOUT_DRAW] * 2.0**53).astype(np.int64)))

    def _pinned(self, made: Tensor) -> Tensor:
        """In page-locked memory if the batch is, or was before it went to a GPU."""
        return made.pin_memory() if self.labels_N.is_cuda or self.labels_N.is_pinned() else made


class CorruptCount:
    """Counts undecodable samples of one pass, names the first few, and stops at a limit."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.count = 0

    def add(self, error: str) -> None:
        """Count one sample.

        Raises:
            ShardError: there are more than the limit.
        """
        self.count += 1
        if self.count <= 10:
            log.warning("corrupt sample skipped: %s", error)
        if self.count > self.limit:
            raise ShardError(
                f"{self.count} corrupt samples, more than data.max_corrupt={self.limit}; the last: {error}. "
                "Mend the shards or raise the limit"
            )


@dataclass(frozen=True)
class Part:
    """Samples of a batch that a thread has decoded."""

    errors: list[str]  # messages of those that cannot be
    seconds: float  # by the loader's clock


# What a decoding thread does with one sample: fill images[place] of the batch, given the encoded image.
Render = Callable[[Batch, int, EncodedImage], None]


class Loader:
    """Decodes the batches of one split in threads. Close it (or use `with`) to end them.

    Args:
        split: the shards.
        shape: of one sample's images, e.g. `(H, W, 3)`.
        render: decodes one sample into its place; runs in the threads.
        classes: labels must lie below.
        threads: how many samples are decoded at a time.
        prefetch: batches decoded ahead.
        max_corrupt: undecodable samples after which it raises.
        pin: batches in page-locked memory, for asynchronous copies to a GPU.
        device: where the images are.
    """

    def __init__(
        self,
        split: Split,
        shape: tuple[int, ...],
        render: Render,
        *,
        classes: int,
        threads: int,
        prefetch: int,
        max_corrupt: int,
        pin: bool = False,
        device: torch.device = CPU,
    ) -> None:
        self._split = split
        self._shape = shape
        self._render = render
        self._classes = classes
        self._threads = threads
        self._prefetch = prefetch
        self._pin = pin
        self._device = device
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        self.corrupt = CorruptCount(max_corrupt)
        self.clock = time.thread_time  # of decoding: without waiting for shards or for a core
        self.decode_s = 0.0  # of the threads together, for the batches that were handed out

    @property
    def threads(self) -> int:
        """How many threads decode."""
        return self._threads

    def batches(self, requests: Iterable[Batch]) -> Iterator[Batch]:
        """Fill each batch made by `request`, and yield them in order.

        Raises:
            ShardError: a shard is missing or torn, a label impossible, or too many samples are corrupt.
        """
        waiting: deque[tuple[Batch, list[Future[Part]]]] = deque()
        requests = iter(requests)
        for batch in requests:
            waiting.append((batch, self._submit(batch)))
            if len(waiting) > self._prefetch:
                yield self._finish(*waiting.popleft())
        while waiting:
            yield self._finish(*waiting.popleft())

    def request(
        self,
        ids: NDArray[np.int64],
        draws_ND: NDArray[np.float64] | None = None,
        shape: tuple[int, ...] | None = None,
    ) -> Batch:
        """An empty batch for these sample ids; `shape` is that of one sample's images, by default the loader's."""
        n = len(ids)
        return Batch(
            images=torch.empty(
                (n, *(shape or self._shape)),
                dtype=torch.uint8,
                pin_memory=self._pin and self._device == CPU,
                device=self._device,
            ),
            labels_N=torch.zeros(n, dtype=torch.int64, pin_memory=self._pin),
            ids_N=torch.from_numpy(ids),
            valid_N=torch.zeros(n, dtype=torch.bool, pin_memory=self._pin),
            mirrored_N=torch.zeros(n, dtype=torch.bool, pin_memory=self._pin),
            draws_ND=np.empty((n, 0)) if draws_ND is None else draws_ND,
        )

    def close(self) -> None:
        """End the threads; what is not begun is not decoded."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _submit(self, batch: Batch) -> list[Future[Part]]:
        """Cut the batch into about three parts a thread: enough to balance, few enough to be cheap."""
        parts = np.array_split(np.arange(len(batch.ids_N)), min(len(batch.ids_N), 3 * self._threads))
        return [self._pool.submit(self._timed_fill, batch, part.tolist()) for part in parts]

    def _finish(self, batch: Batch, parts: list[Future[Part]]) -> Batch:
        for part in parts:
            done = part.result()
            self.decode_s += done.seconds
            for error in done.errors:
                self.corrupt.add(error)
        return batch

    def _timed_fill(self, batch: Batch, places: list[int]) -> Part:
        began = self.clock()
        errors = self._fill(batch, places)
        return Part(errors, self.clock() - began)

    def _fill(self, batch: Batch, places: list[int]) -> list[str]:
        """Decode the samples at `places`; the messages of those that cannot be."""
        errors = []
        valid = batch.valid_N.numpy()  # a tensor's items are slow to set one by one
        for place, sample in self._samples(batch, places):
            try:
                self._render(batch, place, EncodedImage(sample.image))
                valid[place] = True
            except CorruptImage as error:
                errors.append(self._left_out(batch, place, sample, error))
        return errors

    def _samples(self, batch: Batch, places: list[int]) -> Iterator[tuple[int, Sample]]:
        """The samples at `places`; their labels are set."""
        labels = batch.labels_N.numpy()
        for place, sample_id in zip(places, batch.ids_N[places].tolist(), strict=True):
            sample = self._read(sample_id)
            labels[place] = sample.label
            yield place, sample

    def _read(self, sample_id: int) -> Sample:
        sample = self._split.read(sample_id)
        if not 0 <= sample.label < self._classes:
            raise ShardError(
                f"sample {sample.key} has the label {sample.label}, but data.classes is {self._classes}; "
                "set data.classes to what the index says"
            )
        return sample

    def _left_out(self, batch: Batch, place: int, sample: Sample, error: CorruptImage) -> str:
        """Blacken the place of a sample that cannot be decoded; the message about it."""
        batch.images[place].zero_()
        batch.labels_N[place] = 0
        return f"{sample.key}: {error}"


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
