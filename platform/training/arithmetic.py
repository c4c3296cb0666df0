"""How a GPU computes: TF32 in float32, and cuDNN's choice of algorithms. They are settings of the whole process.

In: the settings of a member. Out: PyTorch's, set anew for each member that a process trains; a log line.
"""

import logging
from typing import Any

import torch

from platform.config.training import TrainingConfig

log = logging.getLogger("platform.training")
SAID = {
    "convolutions": "convolutions round to TF32",
    "all": "all products round to TF32",
    "off": "nothing rounds to TF32",
}


def set_arithmetic(training: TrainingConfig, device: torch.device) -> None:
    """Compute as `training.tf32` and `training.autotune` say; on a CPU there is nothing to set.

    TF32 concerns what is float32: with `training.precision=bfloat16` that is little. It keeps 10 bits of the mantissa.
    """
    if device.type != "cuda":
        return
    torch.backends.cuda.matmul.fp32_precision = "tf32" if training.tf32 == "all" else "ieee"
    convolutions: Any = getattr(torch.backends.cudnn, "conv")  # noqa: B009  # which PyTorch's stubs do not have
    convolutions.fp32_precision = "ieee" if training.tf32 == "off" else "tf32"
    torch.backends.cudnn.benchmark = training.autotune
    chosen = "tries its algorithms for each shape" if training.autotune else "chooses its algorithms without trying"
    log.info("in float32 %s (training.tf32=%s); cuDNN %s", SAID[training.tf32], training.tf32, chosen)
