"""Copies to a GPU on a stream of their own, beside the steps: a batch arrives while the one before is computed with.

In: tensors in page-locked memory of the host. Out: the same on the GPU. The host waits for nothing: streams wait for
one another.
"""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor


class CopyStream:
    """A stream of copies.

    Page-locked memory that a copy still reads is safe: PyTorch's allocator of it hands none out again before the copy
    is done.

    Args:
        device: a GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._device, self._stream = device, torch.cuda.Stream(device)

    @contextlib.contextmanager
    def copying(self, after: "torch.cuda.Stream | torch.cuda.Event | None" = None) -> Iterator[None]:
        """Within, copies are queued on the stream; steps that are queued later begin once they are done.

        Args:
            after: what the copies wait for: all that a stream has by now, or an event. None: nothing, which is right
                for new memory.
        """
        steps = torch.cuda.current_stream(self._device)
        if isinstance(after, torch.cuda.Event):
            self._stream.wait_event(after)
        elif after is not None:
            self._stream.wait_stream(after)
        with torch.cuda.stream(self._stream):
            yield
        steps.wait_stream(self._stream)

    def copied(self, tensor: Tensor) -> Tensor:
        """A tensor in new memory of the device."""
        with self.copying():
            copied = tensor.to(self._device, non_blocking=True)
        copied.record_stream(torch.cuda.current_stream(self._device))  # which reads it: until then it is not given away
        return copied
