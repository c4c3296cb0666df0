"""Float32 as it is written: comparisons with a CPU round nothing to TF32."""

import contextlib
from collections.abc import Iterator
from typing import Any, cast

import torch

from platform.config.training import TrainingConfig
from platform.training.arithmetic import set_arithmetic


@contextlib.contextmanager
def without_tf32() -> Iterator[None]:
    """Meanwhile nothing is rounded to TF32, and cuDNN chooses its algorithms without trying; then all is as before."""
    matmul, cudnn = torch.backends.cuda.matmul, cast(Any, torch.backends.cudnn)  # whose stubs lack half of it
    before = matmul.fp32_precision, cudnn.conv.fp32_precision, cudnn.benchmark
    set_arithmetic(TrainingConfig(tf32="off", autotune=False), torch.device("cuda"))
    try:
        yield
    finally:
        matmul.fp32_precision, cudnn.conv.fp32_precision, cudnn.benchmark = before
