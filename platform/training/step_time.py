"""What the time of a training step goes into, measured without waiting for the device.

In: marks at the ends of the parts of a step. Out: seconds a step by part. On CPU every step is measured, by the clock;
on a GPU some, by events in its stream, which are read at the next log step, when the device is waited for anyway.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from platform.training.step_parts import BACKWARD, CHECKPOINT, EXCHANGE, LOGGING, PARTS, REST

GPU_EVERY = 16  # steps: some ten events are recorded in a step that is measured, at a few microseconds each
MOST_SPANS = 10_000  # that wait to be read: beyond them no more steps are measured until the next log step


class StepTimer:
    """Measures the parts of steps; one whose `begin` is never called measures nothing.

    Args:
        stamp: of now, for `seconds`; must not wait for the device.
        seconds: between two stamps, once the device has passed both.
        every: how many steps come to one that is measured.
        at_once: the stamps can be read at once.
    """

    def __init__(
        self,
        stamp: Callable[[], Any] = time.perf_counter,
        seconds: Callable[[Any, Any], float] = lambda start, stop: stop - start,
        *,
        every: int = 1,
        at_once: bool = True,
    ) -> None:
        self._stamp, self._seconds, self._every, self._at_once = stamp, seconds, every, at_once
        self._last: Any = None  # stamp of the last mark; None: this step is not measured
        self._spans: list[tuple[str, Any, Any]] = []
        self._sums: dict[str, float] = {}  # seconds by part
        self._begun = self._measured = self._steps = (
            0  # steps: since the start; measured and all since the last reading
        )

    @classmethod
    def on(cls, device: torch.device) -> Self:
        """The timer of a training on a device."""
        if device.type != "cuda":
            return cls()
        return cls(lambda: _event(device), _between, every=GPU_EVERY, at_once=False)

    @property
    def measures(self) -> bool:
        """Whether the step under way is measured."""
        return self._last is not None

    def begin(self) -> None:
        """A step begins with waiting for its batch; the one before has ended. The first warms up and is left out."""
        self.mark(REST)
        if self._at_once:
            self._read()
        measured = self._begun > 0 and self._begun % self._every == 0 and len(self._spans) < MOST_SPANS
        self._last = self._stamp() if measured else None
        self._measured += measured
        self._steps += self._begun > 0
        self._begun += 1

    def mark(self, part: str) -> None:
        """What came since the last mark was this part of the step."""
        if self._last is not None:
            now = self._stamp()
            self._spans.append((part, self._last, now))
            self._last = now

    @contextlib.contextmanager
    def apart(self, part: str) -> Iterator[None]:
        """What is inside belongs to a part that only some steps have: it is measured in each of them."""
        if not self._begun:
            yield
            return
        self.mark(REST)
        start = self._stamp()
        yield
        stop = self._stamp()
        self._spans.append((part, start, stop))
        self._last = stop if self.measures else None

    def leave_out(self) -> None:
        """What came since the last mark is no training."""
        if self.measures:
            self._last = self._stamp()

    def take(self) -> dict[str, float]:
        """Seconds a step by part, means since the last call that had any; empty: no step was measured since. The device
        must have been waited for since the last mark."""
        self._read()
        if not self._measured:  # what logging and checkpoints took meanwhile is in the next one
            return {}
        steps = {part: self._steps if part in (LOGGING, CHECKPOINT) else self._measured for part in PARTS}
        sums = self._sums
        self._sums, self._measured, self._steps = {}, 0, 0
        return {part: sums.get(part, 0.0) / steps[part] for part in PARTS}

    def _read(self) -> None:
        for part, start, stop in self._spans:
            self._sums[part] = self._sums.get(part, 0.0) + self._seconds(start, stop)
        self._spans.clear()

    def forward(self, model: nn.Module, images: Tensor) -> Any:
        """The network's outputs. Replicas first take batch norm's statistics from rank 0, which is exchange."""
        if not self.measures or not isinstance(model, DistributedDataParallel):
            outputs = model(images)
        else:
            hook = model.module.register_forward_pre_hook(lambda *_: self.mark(EXCHANGE))
            try:
                outputs = model(images)
            finally:
                hook.remove()
        return outputs

    def backward(self, model: nn.Module, loss: Tensor) -> None:
        """The loss's gradients. Replicas average them meanwhile; what of that is left when the last is there is
        exchange."""
        if self.measures and isinstance(model, DistributedDataParallel) and model.require_backward_grad_sync:
            # Callbacks run when all gradients are there, in the order of asking: this one before DDP's, which waits.
            engine: Any = torch.autograd.Variable._execution_engine
            loss.register_hook(lambda _: engine.queue_callback(lambda: self.mark(BACKWARD)))
            loss.backward()
            self.mark(EXCHANGE)
        else:
            loss.backward()
            self.mark(BACKWARD)


NOT_TIMED = StepTimer()  # its `begin` is never called


def _event(device: torch.device) -> torch.cuda.Event:
    event = torch.cuda.Event(enable_timing=True)
    event.record(torch.cuda.current_stream(device))
    return event


def _between(start: torch.cuda.Event, stop: torch.cuda.Event) -> float:
    return start.elapsed_time(stop) / 1000
