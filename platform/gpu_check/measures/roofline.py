"""What the device can do at best: bytes a second to and from its memory, and FLOP a second of a large matrix product.

Measured, as data sheets promise more than any program gets. Numbers are random: on zeros GPUs are faster.
"""

import torch

from platform.gpu_check.context import Context
from platform.gpu_check.measures.timing import seconds_of_a_call
from platform.gpu_check.results import Results

COPY, PRODUCT = "roofline.copy_tb_per_s", "roofline.product_tflop_per_s"


def roofline(context: Context, results: Results) -> None:
    """Both ceilings, in 1e12 a second."""
    generator = torch.Generator(context.device).manual_seed(0)
    _copy(context, results, generator)
    _product(context, results, generator)


def _copy(context: Context, results: Results, generator: torch.Generator) -> None:
    size = context.sizes.copied_mb * 10**6
    given = torch.randint(0, 256, (size,), dtype=torch.uint8, device=context.device, generator=generator)
    taken = torch.empty_like(given)
    for seconds in seconds_of_a_call(context, lambda: taken.copy_(given)):
        results.figures.add(COPY, 2 * size / seconds / 1e12, f"TB/s of a copy of {size / 1e6:.0f} MB, read and written")


def _product(context: Context, results: Results, generator: torch.Generator) -> None:
    side, device = context.sizes.product_side, context.device
    left, right = (torch.randn(side, side, device=device, generator=generator).bfloat16() for _ in range(2))
    place = torch.empty_like(left)
    for seconds in seconds_of_a_call(context, lambda: torch.mm(left, right, out=place)):
        results.figures.add(PRODUCT, 2 * side**3 / seconds / 1e12, f"TFLOP/s of a product of {side}x{side} in bfloat16")
