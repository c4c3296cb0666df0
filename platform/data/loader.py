"""Shards to batches of uint8 images: threads decode into one shared buffer a few batches ahead.

All decoders release the GIL, so threads scale like processes and copy nothing. Samples that cannot be decoded are
counted and named; beyond `data.max_corrupt` the loader raises. What takes their place `train_loader` says for training;
in evaluation they are masked.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from platform.data.batch import Batch
from platform.data.cache import ShardError
from platform.data.decode import CorruptImage, EncodedImage
from platform.data.index import Split
from platform.data.reader import Sample

log = logging.getLogger("platform.data")
CPU = torch.device("cpu")


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
