"""Parts of a network that are not trained: `model.freeze`, beginnings of parameters' names.

In: a network. Out: the same without gradients for those parameters, and the batch norms that keep their statistics.
"""

import re
from collections.abc import Sequence

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from platform.config.checks import require
from platform.text import some

SHOWN = 12  # names in a message


def freeze(network: nn.Module, beginnings: Sequence[str]) -> None:
    """Have no gradient for parameters whose names begin so; before optimiser and replicas are made.

    Raises:
        ConfigError: a beginning is of no parameter, or nothing is left to train.
    """
    names = [name for name, _ in network.named_parameters()]
    for beginning in beginnings:
        tops = list(dict.fromkeys(".".join(name.split(".")[:2]) for name in names))
        require(
            any(is_frozen(name, [beginning]) for name in names),
            f"model.freeze has {beginning!r}, with which no parameter begins; there are {some(tops, SHOWN)}",
        )
    for name, parameter in network.named_parameters():
        if is_frozen(name, beginnings):
            parameter.requires_grad_(False)
    require(
        any(parameter.requires_grad for parameter in network.parameters()),
        f"model.freeze is {list(beginnings)}, and nothing is left to train; take one out",
    )


def is_frozen(name: str, beginnings: Sequence[str]) -> bool:
    """Whether the parameter or module of that name begins with one of these. A number at the end is a whole one:
    `blocks.1` is no beginning of `blocks.10`, but `stages.3` is one of `stages.3a`."""
    return any(re.match(re.escape(each) + (r"(?!\d)" if each[-1].isdigit() else ""), name) for each in beginnings)


def frozen_norms(network: nn.Module, beginnings: Sequence[str]) -> list[_BatchNorm]:
    """The batch norms that are frozen with their statistics, scale and shift alike: they stay in evaluation mode."""
    found = [(f"{name}.", module) for name, module in network.named_modules() if isinstance(module, _BatchNorm)]
    return [module for name, module in found if _is_wholly_frozen(name, module, beginnings)]


def _is_wholly_frozen(prefix: str, norm: nn.Module, beginnings: Sequence[str]) -> bool:
    """By a beginning of its own name, or of those of all its parameters."""
    own = [prefix + name for name, _ in norm.named_parameters()]
    return is_frozen(prefix, beginnings) or (bool(own) and all(is_frozen(name, beginnings) for name in own))


def counts(network: nn.Module) -> str:
    """How much of a network is trained and how much is frozen, in words."""
    frozen = [parameter.numel() for parameter in network.parameters() if not parameter.requires_grad]
    whole = [parameter.numel() for parameter in network.parameters()]
    return f"{sum(frozen):,} of {sum(whole):,} parameters frozen ({len(frozen)} of {len(whole)} tensors)"
