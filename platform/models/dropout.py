"""Dropout whose masks follow from the samples: any number of workers, with any accumulation, drops the same features.

PyTorch's own draws from one generator for each process, so that its masks depend on the number of workers.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

# SplitMix64's constants, as in data.draws, as signed numbers: PyTorch has no arithmetic on unsigned ones.
_GAMMA, _FIRST, _SECOND = (value - 2**64 for value in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


class SampleDropout(nn.Module):
    """Zeroes features with probability `p` and scales the others by 1 / (1 - p), in training.

    Args:
        p: probability, in [0, 1).
        number: of the layer in its network, which makes its masks independent of other layers'.

    Without keys (see `set_keys`) it draws from PyTorch's generator.
    """

    def __init__(self, p: float, number: int) -> None:
        super().__init__()
        self.p, self.number = p, number
        self.keys_N: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """`[N, ...]` -> the same shape."""
        if not self.training or self.p == 0:
            return x
        if self.keys_N is None:
            return nn.functional.dropout(x, self.p)
        kept = _uniforms(self.keys_N ^ (self.number << 53), x[0].numel()) >= self.p
        return x * (kept.view(x.shape).to(x.dtype) / (1 - self.p))

    def extra_repr(self) -> str:
        return f"p={self.p}"


def by_sample(model: nn.Module) -> nn.Module:
    """Replace every plain Dropout of `model` by a SampleDropout, in place; returns `model`."""
    for path, module in list(model.named_modules(remove_duplicate=False)):  # one used twice becomes two, of other masks
        if type(module) is nn.Dropout:
            model.set_submodule(path, SampleDropout(module.p, 0))
    for number, layer in enumerate(layers(model)):
        layer.number = number
    return model


def layers(model: nn.Module) -> list[SampleDropout]:
    """The SampleDropout layers of a network, in order."""
    return [module for module in model.modules() if isinstance(module, SampleDropout)]


def set_keys(layers: Sequence[SampleDropout], keys_N: Tensor | None) -> None:
    """Set what the masks of the next forward pass follow from: one key a sample, int64 below 2^53; None: no keys."""
    for layer in layers:
        layer.keys_N = keys_N


def _uniforms(keys_N: Tensor, count: int) -> Tensor:
    """`count` numbers in [0, 1) for each key: `[N]` -> `[N, count]`, float32."""
    steps = torch.arange(1, count + 1, dtype=torch.int64, device=keys_N.device) * _GAMMA
    x = _mix(keys_N)[:, None] + steps
    return _shifted(_mix(x), 40).float() * 2.0**-24


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shifted(x, 30)) * _FIRST
    x = (x ^ _shifted(x, 27)) * _SECOND
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """Right by `bits`, zeros coming in from the left."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)
