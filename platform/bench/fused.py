"""Several members trained in one step, against the same members one after another in the same process."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from platform.bench.figures import Figures
from platform.config.sections import Config
from platform.data.batch import Batch
from platform.data.pixels import Pixels
from platform.models.build import build
from platform.training.fused.network import FusedNetwork
from platform.training.fused.operations import NotFusable
from platform.training.fused.step import FusedMember, fused_step
from platform.training.optim import optimiser
from platform.training.step import StepConfig, autocast_dtype, train_step

MEMBERS = 6  # of one shape, as the paper's seven have
STEPS = 3


def measure(config: Config, batches: Sequence[Batch], device: torch.device, figures: Figures) -> None:
    """`step.fused_over_separate` into `figures`: of the time on a GPU, else of the CPU time; nothing of networks that
    cannot be computed together.

    Args:
        config: whose network, as `step.measure` has it.
        batches: of training images; each member has one of the first, in every step.
        device: to train on.
    """
    batches = [batches[number % len(batches)] for number in range(MEMBERS)]
    dtype = autocast_dtype(config.training.precision, device)
    alone, together = (_members(config, device) for _ in range(2))
    try:
        network = FusedNetwork([each.module for each in together])
        fused_step(network, together, batches, dtype)  # allocator, kernels
    except NotFusable as error:
        print(f"{config.model.label} is not measured fused: {error}")
        return

    def separate() -> None:
        for each, batch in zip(alone, batches, strict=True):
            train_step(each.module, each.optimizer, batch, each.pixels, each.cfg, dtype, world=1)

    separate()
    for _ in range(config.bench.repeats):
        separate_s = _seconds(separate, device)
        fused_s = _seconds(lambda: fused_step(network, together, batches, dtype), device)
        meaning = f"{MEMBERS} members in one step over one after another"
        figures.add("step.fused_over_separate", separate_s / fused_s, meaning)


def _members(config: Config, device: torch.device) -> list[FusedMember]:
    memory_format = torch.channels_last if config.training.channels_last else torch.contiguous_format
    pixels = Pixels(config.data, device, channels_last=config.training.channels_last)
    made = []
    for number in range(MEMBERS):
        network = build(config.model, config.data.classes, config.data.image_size, config.seed + number)
        network = network.to(device).to(memory_format=memory_format).train()
        optimizer = optimiser(network, replace(config.optim, lr=1e-3))
        made.append(FusedMember(network, optimizer, StepConfig.of(config), pixels))
    return made


def _seconds(step: Callable[[], object], device: torch.device) -> float:
    """Of a GPU by the clock, once it is done; else CPU time, which other work on the machine does not change."""
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    start = clock()
    for _ in range(STEPS):
        step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - start
