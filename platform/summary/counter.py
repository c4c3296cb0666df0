"""Multiply-adds of one operation: one for each product that is added up; biases and everything else are free.

In: an operation of ATen with its arguments and output. Out: a count. Convolution: k_h k_w c_in / groups c_out H W;
product of matrices: M K N; attention: two of them. `torch.utils.flop_counter` counts the same, times two; it would
import Triton, which takes half a second, and is what tests compare with.
"""

from typing import Any

from torch import Tensor

from platform.summary.operations import CONVOLUTIONS, MATRIX_PRODUCTS


def multiply_adds(name: str, args: tuple[Any, ...], out: Any) -> int:
    """Of a whole batch; 0 for what multiplies no weights or tokens: poolings, normalisations, activations, sums."""
    if name in CONVOLUTIONS:
        images, weight = args[0], args[1]
        is_transposed = args[6]
        places = images if is_transposed else out
        return places.shape[0] * places.shape[2:].numel() * weight.numel()
    if name in MATRIX_PRODUCTS:
        left = args[1] if name in ("addmm", "baddbmm") else args[0]
        return out.numel() * left.shape[-1]
    if "scaled_dot_product" in name:
        query, key, value = args[:3]
        return _product(query, key.shape[-2], query.shape[-1]) + _product(query, value.shape[-1], key.shape[-2])
    return 0


def _product(query: Tensor, columns: int, summed: int) -> int:
    """Of each row of the queries with so many columns."""
    return query.shape[:-1].numel() * columns * summed
