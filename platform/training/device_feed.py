"""Batches copied to a GPU while it still computes the step before: from page-locked memory, on a stream of their own.

In: batches on the host. Out: the same with what a step reads of them on the device; on CPU as they are. The host waits
for nothing here: streams wait for one another.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from platform.data.batch import Batch
from platform.data.copy_stream import CopyStream

COPIED = ("images", "labels_N", "mirrored_N", "teacher_logs_NK")
AHEAD = 2  # batches on the device: one that is computed with, and the next


class DeviceFeed:
    """Keeps two batches on a device, whose memory the batches after them take.

    The copy of a batch begins as soon as the loader has it and the step before the last is done.

    Args:
        device: of the steps; for any but a GPU nothing is copied.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def batches(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches in order. Each is valid until the one after the next is asked for."""
        if self._device.type != "cuda":
            yield from batches
            return
        copies = CopyStream(self._device)
        places = [_Place(self._device, copies) for _ in range(AHEAD)]
        for number, batch in enumerate(batches):
            place = places[number % AHEAD]
            yield place.fill(batch)
            place.read.record(torch.cuda.current_stream(self._device))  # the step's kernels are queued by now


class _Place:
    """Memory of one batch on the device."""

    def __init__(self, device: torch.device, copies: CopyStream) -> None:
        self._device, self._copies = device, copies
        self._tensors: dict[str, Tensor] = {}
        self.read = torch.cuda.Event()  # once the step that reads it is done; before the first one it is

    def fill(self, batch: Batch) -> Batch:
        """The batch with what is copied; the stream of the steps goes on once it is there."""
        given = {name: getattr(batch, name) for name in COPIED}
        on_host = {name: value for name, value in given.items() if value is not None and not value.is_cuda}
        after: torch.cuda.Stream | torch.cuda.Event = self.read
        if any(_is_other(self._tensors.get(name), value) for name, value in on_host.items()):
            self._tensors = {name: torch.empty_like(value, device=self._device) for name, value in on_host.items()}
            after = torch.cuda.current_stream(self._device)  # it may still read what was in this memory before
        with self._copies.copying(after):
            for name, value in on_host.items():
                locked = value if value.is_pinned() else value.pin_memory()
                self._tensors[name].copy_(locked, non_blocking=True)
        return replace(batch, **{name: self._tensors[name] for name in on_host})


def _is_other(tensor: Tensor | None, value: Tensor) -> bool:
    return tensor is None or tensor.shape != value.shape or tensor.dtype != value.dtype
