"""Training batches that CPU threads and a GPU decode together.

In: which share of the images the GPU decodes, from which step on. Out: the batches of `TrainLoader`, and their bits but
of the GPU's images. Which those are is drawn for each image as its crop is: it depends on nothing that is measured, nor
on the number of workers.
"""

import time
from concurrent.futures import Future
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from platform.data import draws
from platform.data.batch import Batch
from platform.data.copy_stream import CopyStream
from platform.data.deviceloader import BATCHES_AT_ONCE, DeviceTrainLoader
from platform.data.loader import CPU, Part
from platform.data.train_loader import TrainLoader

WHO_DECODES = 1  # this draw among those of a seed: 0 is that of whole steps
ALL_STEPS = 0


@dataclass(frozen=True)
class Division:
    """Which images a GPU decodes."""

    first_step: int  # counted from 0; all images before it are the CPU's
    share: float  # of the images from then on, in [0, 1]


@dataclass
class _Divided(Batch):
    """A batch whose images at some places are decoded elsewhere."""

    by_device_N: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, bool))
    part: Batch | None = None  # theirs, in this order


class HybridTrainLoader(TrainLoader):
    """`TrainLoader` that has a device decode a share of the images. Only batches that it has a share of are on the
    device.

    Args:
        args: `split`, `order`, `data` and `sampling` of `TrainLoader`.
        device: of the second decoder; the CPU is one, too, whose resizing rounds as a GPU's does.
        division: what it decodes; None: nothing, until `divide` says otherwise.
        options: `rank`, `world`, `threads`, `prefetch`, `sizes`, `draw_count` and `draw_seed` of `TrainLoader`.

    Raises:
        ConfigError: the shards that are read at the same time do not fit into the cache.
    """

    def __init__(self, *args: Any, device: torch.device, division: Division | None = None, **options: Any) -> None:
        super().__init__(*args, pin=device.type == "cuda", **options)
        self._second = DeviceTrainLoader(*args, device=device, **options)
        self._to = device
        self._division = division
        self._asked_for = -1  # the newest step whose images are being decoded
        self._copies = CopyStream(device) if device.type == "cuda" else None

    @property
    def division(self) -> Division | None:
        """Which images the device decodes; None: that is not known yet."""
        return self._division

    def divide(self, division: Division) -> None:
        """Have the device decode a share of the images from a step on.

        Raises:
            ValueError: images of that step are decoded already.
        """
        if division.first_step <= self._asked_for:
            raise ValueError(f"step {self._asked_for} is decoded, so {division.first_step} cannot be the first")
        self._division = division

    def device_s(self, step: int) -> float:
        """Seconds that the device takes to decode this worker's whole share of a global batch, once it is warm."""
        took = 0.0
        for _ in range(2):
            batches = [self._second._step(step) for _ in range(BATCHES_AT_ONCE)]
            self._wait()
            began = time.perf_counter()
            parts = [part for batch in batches for part in self._second._submit(batch)]
            for part in parts:
                part.result()  # a corrupt image is counted in its own step
            self._wait()
            took = time.perf_counter() - began
        return took / BATCHES_AT_ONCE

    def close(self) -> None:
        """End the threads of both decoders."""
        self._second.close()
        super().close()

    def by_device_N(self, step: int) -> NDArray[np.bool_]:
        """Which of this worker's images of a global step the device decodes."""
        shown, division = self._order.showings(step, self._rank, self._world), self._division
        if division is None or step < division.first_step:
            return np.zeros(len(shown.ids), bool)
        seed = draws.key(self._draw_seed, WHO_DECODES)
        return draws.uniforms(seed, shown.epochs, shown.ids, 1, shown.showings)[:, 0] < division.share

    def _step(self, step: int) -> Batch:
        batch, by_device_N = super()._step(step), self.by_device_N(step)
        self._asked_for = max(self._asked_for, step)
        if not by_device_N.any():
            return batch
        ids, draws_ND = batch.ids_N.numpy()[by_device_N], batch.draws_ND[by_device_N]
        part = self._second.request(ids, draws_ND, tuple(batch.images.shape[1:]))
        return _Divided(**vars(batch), by_device_N=by_device_N, part=part)

    def _submit(self, batch: Batch) -> list[Future[Part]]:
        if not isinstance(batch, _Divided) or batch.part is None:
            return super()._submit(batch)
        places = np.flatnonzero(~batch.by_device_N)
        of_threads = np.array_split(places, min(len(places), 3 * self._threads)) if len(places) else []
        threads = [self._pool.submit(self._timed_fill, batch, each.tolist()) for each in of_threads]
        return self._second._submit(batch.part) + threads

    def _finish(self, batch: Batch, parts: list[Future[Part]]) -> Batch:
        batch = super()._finish(batch, parts)
        if not isinstance(batch, _Divided) or batch.part is None:
            return batch
        places_P = torch.from_numpy(np.flatnonzero(batch.by_device_N))
        for name in ("labels_N", "ids_N", "valid_N", "mirrored_N"):
            getattr(batch, name)[places_P] = getattr(batch.part, name)
        whole = Batch(**{each.name: getattr(batch, each.name) for each in fields(Batch)})
        if self._copies is not None:
            whole.images = self._copies.copied(batch.images)
            places_P = places_P.pin_memory().to(self._to, non_blocking=True)
        whole.images.index_copy_(0, places_P, batch.part.images)
        return whole

    def _wait(self) -> None:
        if self._to != CPU:
            torch.cuda.synchronize(self._to)  # sync point
