"""Which parameters weight decay pulls on: weights do, biases and normalisation do not.

In: a network. Out: parameter groups for an optimiser, and how many parameters are in each.
"""

from collections.abc import Iterable
from typing import Any, cast

from torch import nn

from platform.config.optim import OptimConfig


def decay_groups(model: nn.Module, optim: OptimConfig) -> list[dict[str, Any]]:
    """Two parameter groups: those with weight decay, and those that are exempt. What needs no gradient is in none."""
    spared = exempt(model)
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    weights = [parameter for name, parameter in trained.items() if name not in spared]
    others = [parameter for name, parameter in trained.items() if name in spared]
    return [{"params": weights, "weight_decay": optim.weight_decay}, {"params": others, "weight_decay": 0.0}]


def exempt(model: nn.Module) -> set[str]:
    """Names of the parameters without weight decay.

    Biases, scales and shifts have one dimension; besides them what a network names itself in `no_weight_decay()`, as
    timm's do with their positions. Torchvision's name none.
    """
    named = {f"{prefix}.{name}".lstrip(".") for prefix, module in model.named_modules() for name in _named_by(module)}
    return {name for name, parameter in model.named_parameters() if parameter.ndim <= 1 or name in named}


def _named_by(module: nn.Module) -> Iterable[str]:
    names: Any = getattr(module, "no_weight_decay", None)
    return cast("Iterable[str]", names()) if callable(names) else ()


def summary(model: nn.Module) -> str:
    """How many parameters have weight decay, and how many are exempt, in words."""
    spared = exempt(model)
    trained = {name: each.numel() for name, each in model.named_parameters() if each.requires_grad}
    without = {name: count for name, count in trained.items() if name in spared}
    decayed = sum(trained.values()) - sum(without.values())
    return (
        f"weight decay pulls on {decayed:,} parameters in {len(trained) - len(without)} tensors, "
        f"and not on {sum(without.values()):,} in {len(without)} (biases, normalisation, what the network names)"
    )
