"""What operations of ATen look at: their windows, and the receptive field of what comes out.

In: an operation's name, arguments and output. Out: a Window; a Field, or None where the way through the operation is
not followed (shuffled, shifted or cut maps), so that nothing is said rather than something wrong.
"""

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from platform.summary.operations import (
    ADDITIONS,
    CONCATENATIONS,
    CONVOLUTIONS,
    MATRIX_PRODUCTS,
    PRODUCTS,
    SOFTMAXES,
    Window,
)
from platform.summary.receptive_field import Field, joined

EXTRA_TOKENS = 8  # of classes, distillation and registers, beside those of the map
NOT_FOLLOWED = ("roll", "flip", "index_put", "col2im", "im2col")
MAPS = (2, 3)  # axes of `[N, C, H, W]`
LAST_MAPS = (1, 2)  # of `[N, H, W, C]`


def window_of(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor) -> Window | None:
    """The window of a convolution or pooling in two dimensions; of a mean over whole maps, their size."""
    if name in CONVOLUTIONS and args[0].dim() == 4 and not args[6]:
        return Window(_pair(args[1].shape[2:]), _pair(args[3]), _pair(args[5]), args[8])
    if name in ("max_pool2d_with_indices", "max_pool2d", "avg_pool2d"):
        kernel = _pair(args[1])
        stride = _pair(args[2]) if len(args) > 2 and args[2] else kernel
        dilation = _pair(args[4]) if name != "avg_pool2d" and len(args) > 4 else (1, 1)
        return Window(kernel, stride, dilation)
    if name in ("_adaptive_avg_pool2d", "adaptive_max_pool2d"):
        return _adaptive(args[0].shape[2:], out.shape[-2:])
    if name in ("mean", "amax") and args[0].dim() == 4 and len(args) > 1:
        axes = tuple(sorted(axis % 4 for axis in args[1] or ()))
        if axes in (MAPS, LAST_MAPS):
            size = _pair([args[0].shape[axis] for axis in axes])
            return Window(size, size)
    return None


def _adaptive(size: Sequence[int], wanted: Sequence[int]) -> Window | None:
    """Windows of one size, where the wanted map divides the one there is."""
    if any(have % want for have, want in zip(size, wanted, strict=True)):
        return None
    kernel = _pair([have // want for have, want in zip(size, wanted, strict=True)])
    return Window(kernel, kernel)


def field_of(
    name: str,
    args: tuple[Any, ...],
    out: Tensor,
    window: Window | None,
    fields: Sequence[Field | None],
    operands: int,
    images: int,
) -> Field | None:
    """The receptive field of an operation's output.

    Args:
        name: of the operation.
        args: of it, tensors as they are.
        out: its output.
        window: of it.
        fields: of the outputs that its inputs are, or look at.
        operands: how many of its arguments come from the images.
        images: in the batch.
    """
    before = joined(fields)
    if before is None:
        return None
    if window is not None:
        if not _is_map(args[0], before):
            return None
        if name in ("mean", "amax"):
            return before.folded
        return before.windowed(window.kernel, window.stride, window.dilation, out.shape[-2:])
    if "scaled_dot_product" in name:
        return _attended(before, args[1].shape[-2])
    if name in MATRIX_PRODUCTS:
        return _multiplied(name, args, before, operands, images)
    if name in SOFTMAXES:
        return before.as_weights
    return _followed(name, args, out, before, operands)


def _attended(before: Field, tokens: int) -> Field | None:
    """Of attention over so many tokens: the whole image, or windows of it, which are not followed."""
    return before.of_everything if before.whole or tokens >= before.places else None


def _multiplied(name: str, args: tuple[Any, ...], before: Field, operands: int, images: int) -> Field | None:
    if before.whole:
        return before
    if operands > 1:  # of two things that come from the images
        return _attended(before, args[-1].shape[-2]) if before.weights else before
    rows, features = (args[1] if name in ("addmm", "baddbmm") else args[0]).shape[-2:]
    if rows == images:
        return before.folded
    at_each_place = 0 <= rows // images - before.places <= EXTRA_TOKENS
    if at_each_place:
        return before
    return before.of_everything if features == before.places else None  # over tokens, as in MLP-Mixer


def _followed(name: str, args: tuple[Any, ...], out: Tensor, before: Field, operands: int) -> Field | None:
    """Of what is done at each place by itself."""
    if before.whole:
        return before
    if name in NOT_FOLLOWED or name.startswith(("upsample", "index", "gather")):
        return None
    if name in CONCATENATIONS:
        return before if all(_is_map(each, before) for each in args[0]) else None
    if operands > 1 and name in ADDITIONS + PRODUCTS:
        return before
    if any(isinstance(each, Tensor) and each.numel() == out.numel() for each in args):
        return before
    first = args[0]
    if name in ("mean", "sum", "amax") and isinstance(first, Tensor):
        is_over_tokens = first.dim() == 3 and first.shape[1] >= before.places and out.shape[-1] == first.shape[-1]
        return before.folded if is_over_tokens else None
    return None


def _is_map(tensor: Tensor, field: Field) -> bool:
    """Whether a tensor still is the map, or its tokens."""
    size = (field.height.places, field.breadth.places)
    if tensor.dim() == 4:
        return size in (tuple(tensor.shape[2:]), tuple(tensor.shape[1:3]))
    return tensor.dim() == 3 and tensor.shape[1] <= math.prod(size) + EXTRA_TOKENS


def _pair(values: Any) -> tuple[int, int]:
    values = list(values) if isinstance(values, list | tuple) else [values]
    return int(values[0]), int(values[-1])
