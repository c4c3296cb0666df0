"""The work of a step, counted while it runs uncompiled: bytes to and from memory, and floating-point operations.

In: a step. Out: bytes as its operators move them, each input read once and each output written once, but for what no
kernel can do in one pass (see `again`); the same without what a compiler can join to its neighbours; FLOP of
convolutions and matrix products. A ceiling follows: the step takes at least as long as its bytes, or its FLOP,
whichever is longer. Caches make bytes cheaper than counted, so it is an estimate.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from platform.summary.recorder import storage_of, tensors_in

# Beside pointwise operators, these cost a compiled step no pass over memory of their own.
JOINED = ("_to_copy", "copy_", "clone", "fill_", "zero_", "zeros_like", "ones_like", "_softmax", "_log_softmax")


@dataclass(frozen=True)
class Work:
    """Of one step."""

    bytes_moved: int  # by operators one by one
    joined_bytes: int  # at least, where a compiler joins pointwise operators to others
    flop: int

    def seconds(self, bytes_per_s: float, flop_per_s: float, *, joined: bool) -> float:
        """At least, on a device with these ceilings."""
        moved = self.joined_bytes if joined else self.bytes_moved
        return max(moved / bytes_per_s, self.flop / flop_per_s)


def work_of(step: Callable[[], object]) -> Work:
    """Of a step, which is run twice: with one counter and with the other."""
    from torch.utils.flop_counter import FlopCounterMode  # it imports Triton

    flop = FlopCounterMode(display=False)
    with flop:
        step()
    counter = ByteCounter()
    with counter:
        step()
    return Work(counter.moved, counter.joined, flop.get_total_flops())


class ByteCounter(TorchDispatchMode):
    """Adds up what operators read and write."""

    def __init__(self) -> None:
        super().__init__()
        self.moved = self.joined = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled under it."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if not func.is_view and not _only_looks(func, args, out):
            name = func._overloadpacket.__name__
            given, made = list(_distinct([args, kwargs or {}])), list(_distinct([out]))
            size = sum(map(_bytes, given)) + sum(map(_bytes, made)) + again(name, args)
            self.moved += size
            if torch.Tag.pointwise not in func.tags and name not in JOINED:
                self.joined += size - _narrower(name, given + made)
        return out


def again(name: str, args: Any) -> int:
    """Bytes that an operator reads a second time. A batch norm in training needs its statistics before the first value,
    and the sums of its gradients before the first gradient, over far more than caches hold; the gradients of a
    convolution by images and by weights are two kernels, and both read that of its output."""
    if name == "convolution_backward":
        by_images, by_weights, _ = args[-1]
        return _bytes(args[0]) if by_images and by_weights else 0
    if "batch_norm" not in name or any(each is False for each in args):  # one that is not in training
        return 0
    images, *others = (each for each in tensors_in([args]) if each.dim() > 2)
    return _bytes(images) + (sum(map(_bytes, others)) if "backward" in name else 0)


def _narrower(name: str, tensors: list[Tensor]) -> int:
    """Bytes that a compiled max pooling saves: it keeps places in its window, of a byte each, for indices of eight."""
    if not name.startswith("max_pool"):
        return 0
    return sum(_bytes(each) - each.numel() for each in tensors if each.dtype == torch.int64)


def _only_looks(func: Any, args: Any, out: Any) -> bool:
    """Whether the output is the input's memory, which nothing was written to; or new memory, without values yet."""
    name = func._overloadpacket.__name__
    if name.startswith(("empty", "new_empty")):
        return True
    given = {storage_of(each) for each in tensors_in([args])}
    made = {storage_of(each) for each in tensors_in([out])}
    return not func._schema.is_mutable and bool(made) and made <= given


def _bytes(tensor: Tensor) -> int:
    """What is there of it: an expanded tensor is no larger than what it shows."""
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())


def _distinct(values: Iterable[Any]) -> Iterator[Tensor]:
    """Each once, on a device: numbers of the host are not moved."""
    return iter({id(each): each for each in tensors_in(values)}.values())
