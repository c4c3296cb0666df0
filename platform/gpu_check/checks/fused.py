"""Members computed together against each by itself, on the same device."""

import torch

from platform.data.pixels import Pixels
from platform.gpu_check.checks.networks import CHANGE, LOSS
from platform.gpu_check.context import Context
from platform.gpu_check.difference import Difference, relative
from platform.gpu_check.results import Results
from platform.gpu_check.sizes import NARROW
from platform.gpu_check.trainings import Case, made_batch, on_host
from platform.models.build import build
from platform.training.batch_norm import layers
from platform.training.fused.network import FusedNetwork
from platform.training.fused.step import FusedMember, fused_step
from platform.training.optim import optimiser
from platform.training.step import StepConfig, StepResult, train_step

MEMBERS = 3


def fused(context: Context, results: Results) -> None:
    """Losses and steps of some members that differ in weights and images."""
    case = Case(NARROW, 64)
    together, apart_ = _members(case, context.device), _members(case, context.device)
    before = [[each.detach().clone() for each in member.module.parameters()] for member in apart_]
    network = FusedNetwork([member.module for member in together])
    fused_losses, own_losses = [], []
    for step in range(case.steps):
        batches = [
            made_batch(case.images, case.image_size, case.transforms, 10 * member + step) for member in range(MEMBERS)
        ]
        fused_losses += _losses(fused_step(network, together, batches, torch.float32))
        own_losses += _losses(
            [
                train_step(each.module, each.optimizer, batch, each.pixels, each.cfg, torch.float32, world=1)
                for each, batch in zip(apart_, batches, strict=True)
            ]
        )
    network.release()
    losses = Difference("losses", relative(fused_losses, own_losses), LOSS)
    found, reference = (_change(members, before) for members in (together, apart_))
    change = Difference("change", relative(found, reference), CHANGE)
    results.compare("fused members = separate ones", [losses, change], f"{MEMBERS} of {case.model.label}")


def _members(case: Case, device: torch.device) -> list[FusedMember]:
    made = []
    for seed in range(MEMBERS):
        network = build(case.model, case.config.data.classes, case.image_size, seed)
        network = network.to(device).to(memory_format=torch.channels_last).train()
        assert not layers(network)
        pixels = Pixels(case.config.data, device)
        made.append(FusedMember(network, optimiser(network, case.optim), StepConfig.of(case.config), pixels))
    return made


def _losses(step_results: list[StepResult]) -> list[torch.Tensor]:
    return [on_host(result.loss) for result in step_results]


def _change(members: list[FusedMember], before: list[list[torch.Tensor]]) -> list[torch.Tensor]:
    return [
        on_host(now - then)
        for member, own in zip(members, before, strict=True)
        for now, then in zip(member.module.parameters(), own, strict=True)
    ]
