"""Learning rates of their own for the parts of a network: the classifiers' (`optim.head_lr`), and less for each block
the further it is from them (`optim.layer_decay`).

In: a network and its optimiser. Out: parameter groups with `lr_scale`, which the learning rate of a step is multiplied
by.
"""

from collections.abc import Collection, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from platform.config.models import ModelConfig
from platform.config.optim import OptimConfig
from platform.models.initial import classifiers

SCALE = "lr_scale"  # of a parameter group; 1 where it is not there
LARGE = 0.5  # a block of a larger share of a network's numbers is taken apart
CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of a step; where it is a tensor, in its place, without waiting for the device."""
    for group in optimizer.param_groups:
        own = lr * group.get(SCALE, 1.0)
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(own)
        else:
            group["lr"] = own


def scale_lr(
    optimizer: torch.optim.Optimizer,
    network: nn.Module,
    optim: OptimConfig,
    model: ModelConfig,
    classes: int,
    size: int,
) -> None:
    """Split the parameter groups of a new optimiser by the scales of their learning rates; with the usual settings they
    stay as they are.

    Args:
        optimizer: that has made no step.
        network: whose parameters it has.
        optim: the scales.
        model, classes, size: what the network was built of.
    """
    if optim.head_lr == 1 and optim.layer_decay == 1:
        return
    scales = lr_scales(network, classifiers(model, classes, size), optim)
    of = {parameter: scales[name] for name, parameter in network.named_parameters()}
    groups = []
    for group in optimizer.param_groups:
        for scale in dict.fromkeys(of[parameter] for parameter in group["params"]):
            own = [parameter for parameter in group["params"] if of[parameter] == scale]
            groups.append(group | {"params": own, SCALE: scale})
    optimizer.param_groups[:] = groups


def lr_scales(network: nn.Module, heads: Collection[str], optim: OptimConfig) -> dict[str, float]:
    """Name of each parameter -> what its learning rate is multiplied by: `head_lr` for classifiers, for others
    `layer_decay` to the power of their distance from them in blocks (Clark et al., ELECTRA, 2020; Bao et al., BEiT,
    2022).

    Args:
        network: whose blocks are counted in the order in which it has them, or as its timm says.
        heads: names of the classifiers' parameters.
        optim: the scales.
    """
    depths = _depths(network, heads)
    last = max(depths.values())
    return {
        name: optim.head_lr if name in heads else optim.layer_decay ** (last - depth) for name, depth in depths.items()
    }


def _depths(network: nn.Module, heads: Collection[str]) -> dict[str, int]:
    """Name of each parameter -> the number of its block. Blocks with a classifier come last, auxiliary heads too."""
    if hasattr(network, "group_matcher"):
        from timm.models import group_parameters

        matcher: Any = getattr(network, "group_matcher")(coarse=False)  # noqa: B009  # not every network has it
        matched: dict[str, Any] = dict(group_parameters(network, matcher, reverse=True))
        return {name: int(depth) for name, depth in matched.items()}
    numbers = sum(parameter.numel() for parameter in network.parameters())
    blocks = [names for names in _blocks(network, "", numbers) if not set(names) & set(heads)]
    depths = {name: depth for depth, names in enumerate(blocks) for name in names}
    return {name: depths.get(name, len(blocks)) for name, _ in network.named_parameters()}


def _blocks(module: nn.Module, prefix: str, numbers: int) -> Iterator[list[str]]:
    """The parameters' names of each block of a module, in order; of what holds most of a network those of its parts."""
    own = [f"{prefix}{name}" for name, _ in module.named_parameters(recurse=False)]
    if own:
        yield own
    for name, child in module.named_children():
        within = [f"{prefix}{name}.{inner}" for inner, _ in child.named_parameters()]
        size = sum(parameter.numel() for parameter in child.parameters())
        has_parts = any(True for _ in child.children())
        if has_parts and (isinstance(child, CONTAINERS) or size > LARGE * numbers):
            yield from _blocks(child, f"{prefix}{name}.", numbers)
        elif within:
            yield within
