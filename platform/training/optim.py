"""The optimiser of a network, and the norm its gradient is clipped to."""

import math

import torch
from torch import Tensor, nn

from platform.config.sections import OptimConfig


def sgd(model: nn.Module, optim: OptimConfig) -> torch.optim.SGD:
    """SGD with momentum. Weight decay pulls on weights only: biases and normalisation have one dimension."""
    weights = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    others = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [{"params": weights, "weight_decay": optim.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=optim.lr, momentum=optim.momentum, nesterov=optim.nesterov, fused=True)


def clip(model: nn.Module, limit: float) -> Tensor:
    """Scale the whole gradient to a norm of at most `limit` (0: leave it); returns the norm before."""
    return nn.utils.clip_grad_norm_(model.parameters(), limit or math.inf)
