"""Optimisers: the settings of `optim` to a `torch.optim.Optimizer`, and the norm that its gradient is clipped to.

A new one is a function here, called as it is, and its settings in `platform/config/optim.py`.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from platform.config.choices import chosen
from platform.config.optim import (
    AdagradConfig,
    AdamWConfig,
    LAMBConfig,
    LARSConfig,
    MuonConfig,
    OptimConfig,
    RMSPropConfig,
    SGDConfig,
)
from platform.training.weight_decay import decay_groups


def optimiser(model: nn.Module, optim: OptimConfig) -> torch.optim.Optimizer:
    """The optimiser `optim.name` over the parameters of `model` that need a gradient.

    Its learning rate is `optim.lr`; the training loop sets another before each step, as `schedule` has it.
    """
    return chosen(f"{__name__}:{optim.name}")(model, optim)


def sgd(model: nn.Module, optim: SGDConfig) -> torch.optim.SGD:
    """Stochastic gradient descent with momentum, as PyTorch computes it: v = momentum v + g; w = w - lr v."""
    groups = decay_groups(model, optim)
    return torch.optim.SGD(groups, lr=optim.lr, momentum=optim.momentum, nesterov=optim.nesterov, fused=True)


def rmsprop(model: nn.Module, optim: RMSPropConfig) -> torch.optim.Optimizer:
    """RMSProp as TensorFlow 1 computes it, which trained Inception-v3, with the mean square s beginning at 1:

    s = decay s + (1 - decay) g²; v = momentum v + lr g / sqrt(s + epsilon); w = w - v. `torch.optim.RMSprop` adds
    epsilon to the root, begins at 0, and multiplies v by the rate of each step.
    """
    from timm.optim.rmsprop_tf import RMSpropTF  # timm takes seconds to import, as in those below

    groups = decay_groups(model, optim)
    return RMSpropTF(groups, lr=optim.lr, alpha=optim.decay, eps=optim.epsilon, momentum=optim.momentum)


def adagrad(model: nn.Module, optim: AdagradConfig) -> torch.optim.Adagrad:
    """Adagrad: the sum s of g², from `initial_sum`; w = w - lr g / (sqrt(s) + epsilon)."""
    return torch.optim.Adagrad(
        decay_groups(model, optim),
        lr=optim.lr,
        initial_accumulator_value=optim.initial_sum,
        eps=optim.epsilon,
    )


def adamw(model: nn.Module, optim: AdamWConfig) -> torch.optim.AdamW:
    """Adam with decoupled weight decay, w = w - lr weight_decay w beside Adam's step."""
    betas = (optim.beta1, optim.beta2)
    return torch.optim.AdamW(decay_groups(model, optim), lr=optim.lr, betas=betas, eps=optim.epsilon, fused=True)


def lars(model: nn.Module, optim: LARSConfig) -> torch.optim.Optimizer:
    """SGD whose gradient of each decayed weight, decay included, is scaled to its norm: by trust_coefficient |w| / (|g|
    + weight_decay |w|). Parameters without weight decay are trained as by SGD, as in the paper's code."""
    from timm.optim.lars import Lars

    groups = decay_groups(model, optim)
    for group in groups:
        group["momentum"] = optim.momentum  # which Lars says is an int
    return Lars(groups, lr=optim.lr, trust_coeff=optim.trust_coefficient)


def lamb(model: nn.Module, optim: LAMBConfig) -> torch.optim.Optimizer:
    """Adam whose step of each decayed weight, decay included, is scaled to the weight's norm; the others' is Adam's."""
    from timm.optim.lamb import Lamb

    betas = (optim.beta1, optim.beta2)
    groups = decay_groups(model, optim)  # `optim.clip_norm` clips, for every optimiser alike
    return Lamb(groups, lr=optim.lr, betas=betas, eps=optim.epsilon, max_grad_norm=None)


def muon(model: nn.Module, optim: MuonConfig) -> torch.optim.Optimizer:
    """Momentum whose step is made orthogonal, for matrices, and for kernels of convolutions as matrices of (outputs,
    inputs x height x width); their steps have the size of AdamW's, so that one rate suits both.

    AdamW trains the others: what has one dimension (biases, normalisation), kernels of one input (depthwise), and
    matrices narrower than 4 or 128 times as long as wide.
    """
    from timm.optim.muon import Muon

    return Muon(
        decay_groups(model, optim),
        lr=optim.lr,
        momentum=optim.momentum,
        nesterov=optim.nesterov,
        ns_steps=optim.iterations,
        betas=(optim.beta1, optim.beta2),
        adjust_lr_fn="match_rms_adamw",
    )


def held_tensors(optimizer: torch.optim.Optimizer) -> int:
    """How many tensors of a parameter's size it holds for each, once it has made a step."""
    settings: dict[str, Any] = optimizer.defaults
    if "betas" in settings:
        return 2  # Adam and its like; Muon, of its smaller part
    has_momentum = any(group.get("momentum", 1) for group in optimizer.param_groups)
    return int(has_momentum) + ("alpha" in settings)  # the mean square


def clip(model: nn.Module, limit: float) -> Tensor:
    """Scale the whole gradient to an L2 norm of at most `limit` (0: leave it); returns the norm before, a scalar."""
    return nn.utils.clip_grad_norm_(model.parameters(), limit or math.inf)
