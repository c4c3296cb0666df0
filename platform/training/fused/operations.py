"""What a network's forward pass may do while it computes several members at once.

The members' channels stand side by side: `[N, M C, H, W]`, `[N, M F]`. What treats each channel by itself then needs no
change, what joins channels is done for each member here, and anything else is refused by name: nothing is wrong in
silence.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode, resolve_name

SPATIAL = {2, 3}  # dimensions of a map


class NotFusable(Exception):
    """These members cannot be computed together. The message says why."""


class Operations(TorchFunctionMode):
    """Watches the functions that a forward pass calls (use `with`), and does those over channels for each member.

    Args:
        members: how many there are.

    Raises:
        NotFusable: by a function that is not known to treat each channel by itself.
    """

    def __init__(self, members: int) -> None:
        super().__init__()
        self.members = members
        self._in_layer = False
        self._own: dict[Any, Callable[..., Any]] = {
            torch.cat: self._cat,
            F.local_response_norm: self._local_response_norm,
            Tensor.shape.__get__: self._shape,  # pyright: ignore[reportAttributeAccessIssue]
            Tensor.size: self._size,
        }

    @contextmanager
    def layer(self) -> Iterator[None]:
        """What a fused layer does inside is known."""
        before, self._in_layer = self._in_layer, True
        try:
            yield
        finally:
            self._in_layer = before

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if self._in_layer or func in HARMLESS:
            return func(*args, **kwargs)
        if own := self._own.get(func):
            return own(*args, **kwargs)
        allows = BY_ARGUMENTS.get(func)
        if allows is None or not allows(*args, **kwargs):
            name = resolve_name(func) or getattr(func, "__name__", func)
            raise NotFusable(f"its forward pass calls {name} in a way that is not known to keep members apart")
        return func(*args, **kwargs)

    def _cat(self, tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
        """Channels of each member beside each other, in the memory format of the first."""
        first = tensors[0]
        if dim not in (1, 1 - first.dim()) or first.dim() not in (2, 4):
            raise NotFusable(f"its forward pass joins tensors of {first.dim()} dimensions along dimension {dim}")
        if first.dim() == 4 and not first.is_contiguous():  # channels last: where a pixel's channels are neighbours
            last = [each.permute(0, 2, 3, 1).unflatten(3, (self.members, -1)) for each in tensors]
            return torch.cat(last, 4).flatten(3).permute(0, 3, 1, 2)
        return torch.cat([each.unflatten(1, (self.members, -1)) for each in tensors], 2).flatten(1, 2)

    def _local_response_norm(self, maps: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Over neighbouring channels of each member: as if the members were images."""
        own = maps.unflatten(1, (self.members, -1)).flatten(0, 1)
        return F.local_response_norm(own, *args, **kwargs).unflatten(0, (len(maps), -1)).flatten(1, 2)

    def _shape(self, values: Tensor, *_: Any) -> torch.Size:
        """As a member alone has it: a network may compute with the number of its channels."""
        images, *rest = values.shape
        return torch.Size([images, rest[0] // self.members, *rest[1:]]) if rest else values.shape

    def _size(self, values: Tensor, dim: int | None = None) -> Any:
        return self._shape(values) if dim is None else self._shape(values)[dim]


def _is_map(values: Any, *_: Any, **__: Any) -> bool:
    return isinstance(values, Tensor) and values.dim() == 4


def _is_over_pixels(values: Tensor, dim: Any = None, keepdim: bool = False, **_: Any) -> bool:
    dims = [dim] if isinstance(dim, int) else list(dim or ())
    return _is_map(values) and {each % 4 for each in dims} == SPATIAL


def _is_of_samples(values: Tensor, start_dim: int = 0, end_dim: int = -1) -> bool:
    return start_dim == 1 and end_dim in (-1, values.dim() - 1)


def _pads_pixels(values: Tensor, pad: Sequence[int], *_: Any, **__: Any) -> bool:
    return _is_map(values) and len(pad) <= 4


def _is_elementwise(values: Any, *others: Any, **_: Any) -> bool:
    """Of numbers, or of as many channels."""
    tensors = [each for each in (values, *others) if isinstance(each, Tensor)]
    return len({(each.dim(), each.shape[1]) if each.dim() > 1 else None for each in tensors}) == 1


# Whatever their arguments: a tensor's own properties, and functions of each element by itself.
HARMLESS: set[Any] = {
    *(getattr(Tensor, name).__get__ for name in ("device", "dtype", "is_cuda", "requires_grad", "ndim")),
    *(Tensor.dim, Tensor.contiguous, Tensor.is_floating_point, Tensor.__len__),
    *(F.relu, F.relu_, F.relu6, F.leaky_relu, F.gelu, F.silu, F.elu, F.hardtanh, F.hardswish, F.hardsigmoid),
    *(torch.relu, torch.relu_, torch.sigmoid, torch.tanh, F.sigmoid, F.tanh, Tensor.relu, Tensor.sigmoid, Tensor.tanh),
}
# Where what they are given keeps channels apart.
BY_ARGUMENTS: dict[Any, Callable[..., bool]] = {
    **dict.fromkeys((torch.add, torch.mul, torch.sub, torch.div), _is_elementwise),
    **dict.fromkeys((Tensor.add, Tensor.add_, Tensor.mul, Tensor.mul_, Tensor.sub, Tensor.div), _is_elementwise),
    **dict.fromkeys((Tensor.__add__, Tensor.__radd__, Tensor.__iadd__, Tensor.__mul__), _is_elementwise),
    **dict.fromkeys((Tensor.__rmul__, Tensor.__imul__, Tensor.__sub__, Tensor.__truediv__), _is_elementwise),
    **dict.fromkeys((F.max_pool2d, torch.max_pool2d, F.avg_pool2d), _is_map),
    **dict.fromkeys((F.adaptive_avg_pool2d, F.adaptive_max_pool2d), _is_map),
    **dict.fromkeys((Tensor.mean, torch.mean), _is_over_pixels),
    **dict.fromkeys((Tensor.flatten, torch.flatten), _is_of_samples),
    F.pad: _pads_pixels,
}
