"""Optimisers: the settings of `optim` to a `torch.optim.Optimizer`, and the norm that its gradient is clipped to.

A new one is a function here, and its line in `platform/config/choices.py`.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from platform.config.choices import OPTIMISERS, chosen
from platform.config.optim import OptimConfig


def optimiser(model: nn.Module, optim: OptimConfig) -> torch.optim.Optimizer:
    """The optimiser `optim.name` over the parameters of `model` that need a gradient.

    Its learning rate is `optim.lr`; the training loop sets another before each step, as `schedule` has it.
    """
    return chosen(OPTIMISERS[optim.name])(model, optim)


def sgd(model: nn.Module, optim: OptimConfig) -> torch.optim.SGD:
    """Stochastic gradient descent with momentum, as PyTorch computes it: v = momentum v + g; w = w - lr v."""
    groups = decay_groups(model, optim)
    return torch.optim.SGD(groups, lr=optim.lr, momentum=optim.momentum, nesterov=optim.nesterov, fused=True)


def decay_groups(model: nn.Module, optim: OptimConfig) -> list[dict[str, Any]]:
    """Parameter groups for an optimiser: weight decay for weights only; biases and normalisation have one dimension."""
    weights = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    others = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    return [{"params": weights, "weight_decay": optim.weight_decay}, {"params": others, "weight_decay": 0.0}]


def clip(model: nn.Module, limit: float) -> Tensor:
    """Scale the whole gradient to an L2 norm of at most `limit` (0: leave it); returns the norm before, a scalar."""
    return nn.utils.clip_grad_norm_(model.parameters(), limit or math.inf)
