"""Whole steps as one CUDA graph: forward and backward pass, clipping and the optimiser, launched by one call.

In: the function that makes a step, and batches. Out: the results of steps. The function is the usual one: it is given a
batch whose tensors stay where they are, and an optimiser whose learning rates lie on the device. So the same function,
with the same batch, runs uncaptured where there is no GPU, and in the first steps.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields

import torch
from torch import Tensor

from platform.config.checks import require
from platform.config.training import GRAPHED_OPTIMISERS
from platform.data.batch import Batch
from platform.training.device_feed import COPIED
from platform.training.step import StepResult
from platform.training.worker import Worker

UNCAPTURED = 3  # first steps: cuDNN tries its algorithms in them, networks compile, constants reach the device


@dataclass
class StillBatch(Batch):
    """A batch whose tensors are the same memory in each step, with all that a step reads on the device."""

    colours_N8: Tensor = field(default_factory=lambda: torch.empty(0))
    keys_N: Tensor = field(default_factory=lambda: torch.empty(0))

    @classmethod
    def like(cls, batch: Batch, device: torch.device) -> "StillBatch":
        """Memory for batches as large as this one."""
        own = {each.name: getattr(batch, each.name) for each in fields(Batch)}
        own |= {name: _memory(own[name], device) for name in COPIED if own[name] is not None}
        colours, keys = (_memory(each, device) for each in (batch.colour_draws_N8, batch.dropout_keys_N))
        return cls(**own, colours_N8=colours, keys_N=keys)

    def fill(self, batch: Batch) -> None:
        """Take over another batch, on the stream of the steps."""
        for name in COPIED:
            if (own := getattr(self, name)) is not None:
                _copy(own, getattr(batch, name))
        _copy(self.colours_N8, batch.colour_draws_N8)
        _copy(self.keys_N, batch.dropout_keys_N)

    @property
    def colour_draws_N8(self) -> Tensor:
        return self.colours_N8

    @property
    def dropout_keys_N(self) -> Tensor:
        return self.keys_N


def _memory(like: Tensor, device: torch.device) -> Tensor:
    return torch.empty_like(like, device=device)


def _copy(own: Tensor, given: Tensor) -> None:
    if own.shape != given.shape:
        raise RuntimeError(f"a CUDA graph of {tuple(own.shape)} was given {tuple(given.shape)}")
    own.copy_(given, non_blocking=True)


class GraphedSteps:
    """Makes the first steps as they are, then captures one, and replays it from then on.

    Dropout's keys are part of the batch. What draws from PyTorch's generator besides follows from its seed in a replay,
    too: CUDA graphs read seed and offset anew.

    Args:
        device: of the steps; on CPU nothing is captured.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._batch: StillBatch | None = None
        self._made = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._result: StepResult | None = None  # memory that each replay writes anew
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def step(self, batch: Batch, step: Callable[[Batch], StepResult]) -> StepResult:
        """The step with this batch. Its results are valid until the next one.

        Args:
            batch: of the same shapes each time.
            step: the same each time: makes a step with a batch, without a look at its values.
        """
        self._batch = self._batch or StillBatch.like(batch, self._device)
        self._batch.fill(batch)
        self._made += 1
        if self._stream is None:
            return step(self._batch)
        if self._made <= UNCAPTURED:
            return self._aside(step, self._batch)
        if self._graph is None or self._result is None:
            self._graph, self._result = self._captured(step, self._batch)
        self._graph.replay()
        return self._result

    def _aside(self, step: Callable[[Batch], StepResult], batch: Batch) -> StepResult:
        """On the stream that is captured later: what autograd keeps of a stream is of that one."""
        assert self._stream is not None
        usual = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(usual)
        with torch.cuda.stream(self._stream):
            result = step(batch)
        usual.wait_stream(self._stream)
        return result

    def _captured(self, step: Callable[[Batch], StepResult], batch: Batch) -> tuple[torch.cuda.CUDAGraph, StepResult]:
        """The graph of a step, which is not made by that."""
        graph = torch.cuda.CUDAGraph()
        others_go_on = "thread_local"  # decoding threads call CUDA as well meanwhile
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode=others_go_on):  # sync point
            result = step(batch)
        return graph, result


def require_graphs(worker: Worker, optimiser: str) -> None:
    """Whether this worker can make whole steps as graphs.

    Raises:
        ConfigError: it cannot.
    """
    require(
        worker.device.type == "cuda" and worker.world == 1,
        f"training.cuda_graphs is true, and {worker.node} trains on {worker.device.type} as one of {worker.world} "
        "worker(s); set training.cuda_graphs=false, or train with one GPU",
    )
    require(
        optimiser in GRAPHED_OPTIMISERS,
        f"training.cuda_graphs is true, and optim.name is {optimiser}, which waits for the host; give one of "
        f"{', '.join(GRAPHED_OPTIMISERS)}, or training.cuda_graphs=false",
    )


def put_lr_on_device(optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    """Have the optimiser read its learning rates from tensors, which `set_lr` fills: a graph keeps numbers as they were
    when it was captured.

    Args:
        optimizer: as its training begins or goes on.
        device: of the parameters.
    """
    for group in optimizer.param_groups:
        group["lr"] = torch.tensor(float(group["lr"]), dtype=torch.float32, device=device)  # once a training
        if "capturable" in group:
            group["capturable"] = device.type == "cuda"
