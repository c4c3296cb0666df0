"""A compiled network against the same one uncompiled, on the device: float32, to the rounding."""

import torch

from platform.config.checks import ConfigError
from platform.config.training import CUDA_GRAPHS, DEFAULT_MODE
from platform.gpu_check.checks.networks import differences
from platform.gpu_check.context import Context
from platform.gpu_check.results import NotHere, Results
from platform.gpu_check.sizes import NARROW_WITH_NORM
from platform.gpu_check.trainings import Case, trained
from platform.models.compiled import require_compiler, use_threads

WHY = "what is compiled for a CPU is for trying (docs/speed.md), and takes minutes"


def compiled(context: Context, results: Results) -> None:
    """A network with batch norm and dropout, compiled and as CUDA graphs."""
    context.require_gpu(WHY)
    require_compiling(context, DEFAULT_MODE)
    for mode in (DEFAULT_MODE, CUDA_GRAPHS):
        compare(Case(NARROW_WITH_NORM, 64, bears_batch_norm=True), context.device, mode, results)


def require_compiling(context: Context, mode: str) -> None:
    """Leave out what this machine has no compiler for.

    Raises:
        NotHere: it has none.
    """
    try:
        require_compiler(mode, on_gpu=context.on_gpu)
    except ConfigError as error:
        raise NotHere(str(error)) from None
    use_threads(context.worker.threads)


def compare(case: Case, device: torch.device, mode: str, results: Results) -> None:
    """Train compiled and not."""
    found, reference = trained(case, device, mode=mode), trained(case, device)
    results.compare(f"compiled = eager ({mode})", differences(found, reference), case.model.label)
