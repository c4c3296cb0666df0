"""Dropout whose masks follow from the samples: any number of workers, with any accumulation, drops the same features.

PyTorch's own draws from one generator for each process, so that its masks depend on the number of workers. Stochastic
depth (Huang et al., ECCV 2016), which drops whole residual branches, is one as well.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

# SplitMix64's constants, as in data.draws, as signed numbers: PyTorch has no arithmetic on unsigned ones.
_GAMMA, _FIRST, _SECOND = (value - 2**64 for value in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_ONE_OVER_GAMMA = pow(_GAMMA, -1, 2**64) - 2**64  # their product is 1 in arithmetic modulo 2^64


class SampleDropout(nn.Module):
    """Zeroes features with probability `p` and scales the others by 1 / (1 - p), in training.

    Args:
        p: probability, in [0, 1).
        number: of the layer in its network, which makes its masks independent of other layers'.

    Without keys (see `set_keys`), and of what is not one row or several for each sample, it draws from PyTorch's
    generator.
    """

    def __init__(self, p: float, number: int) -> None:
        super().__init__()
        self.p, self.number = p, number
        self.keys_N: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """`[N, ...]` -> the same shape."""
        if not self.training or self.p == 0:
            return x
        if self.keys_N is None or len(x) % len(self.keys_N):
            return self._unkeyed(x)
        kept = self._kept(x, self.keys_N)
        return x * (kept.to(x.dtype) / (1 - self.p))

    def _kept(self, x: Tensor, keys_N: Tensor) -> Tensor:
        """Of windows, which Swin and its kin have in place of images, those of a sample stand one after another."""
        return (uniforms(keys_N ^ (self.number << 53), x.numel() // len(keys_N)) >= self.p).view(x.shape)

    def _unkeyed(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(x, self.p)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class SampleDropPath(SampleDropout):
    """Zeroes whole samples with probability `p` and scales the others by 1 / (1 - p), in training: what stands at the
    end of a residual branch, and is stochastic depth there.

    Args:
        p: probability, in [0, 1).
        number: of the layer in its network.
        scaled: whether the others are scaled.
    """

    def __init__(self, p: float, number: int, *, scaled: bool = True) -> None:
        super().__init__(p, number)
        self.scaled = scaled

    def forward(self, x: Tensor) -> Tensor:
        """`[N, ...]` -> the same shape."""
        dropped = super().forward(x)
        return dropped if self.scaled or dropped is x else dropped * (1 - self.p)

    def _kept(self, x: Tensor, keys_N: Tensor) -> Tensor:
        kept_N = uniforms(keys_N ^ (self.number << 53), 1) >= self.p
        return kept_N.repeat_interleave(len(x) // len(keys_N)).view(-1, *[1] * (x.dim() - 1))

    def _unkeyed(self, x: Tensor) -> Tensor:
        kept = torch.rand([len(x), *[1] * (x.dim() - 1)], device=x.device) >= self.p
        return x * (kept.to(x.dtype) / (1 - self.p))


def by_sample(model: nn.Module) -> nn.Module:
    """Replace every plain Dropout of `model`, and torchvision's and timm's layers of stochastic depth, by those above,
    in place; returns `model`. Where there is nothing to replace, layers keep the numbers that they have."""
    found = model.named_modules(remove_duplicate=False)  # one used twice becomes two, of other masks
    replaced = [(path, ours) for path, module in found if (ours := _of_samples(module)) is not None]
    for path, ours in replaced:
        model.set_submodule(path, ours)
    for number, layer in enumerate(layers(model) if replaced else []):
        layer.number = number
    return model


def _of_samples(module: nn.Module) -> SampleDropout | None:
    """Of what a layer of another library becomes; None: it stays. The libraries are not imported for that: of a network
    that has their layers they are there."""
    kind = type(module)
    make = OF_OTHERS.get(f"{kind.__module__}.{kind.__name__}")
    return make(module) if make else None


OF_OTHERS: dict[str, Callable[[Any], SampleDropout | None]] = {
    "torch.nn.modules.dropout.Dropout": lambda layer: SampleDropout(layer.p, 0),
    "torchvision.ops.stochastic_depth.StochasticDepth": lambda layer: (
        SampleDropPath(layer.p, 0) if layer.mode == "row" and layer.p < 1 else None
    ),
    "timm.layers.drop.DropPath": lambda layer: (
        SampleDropPath(layer.drop_prob, 0, scaled=layer.scale_by_keep) if (layer.drop_prob or 0) < 1 else None
    ),
}


def layers(model: nn.Module) -> list[SampleDropout]:
    """The SampleDropout layers of a network, in order."""
    return [module for module in model.modules() if isinstance(module, SampleDropout)]


def set_keys(layers: Sequence[SampleDropout], keys_N: Tensor | None) -> None:
    """Set what the masks of the next forward pass follow from: one key a sample, int64 below 2^53; None: no keys."""
    for layer in layers:
        layer.keys_N = keys_N


def uniforms(keys_N: Tensor, count: int) -> Tensor:
    """`count` numbers in [0, 1) for each key: `[N]` -> `[N, count]`, float32.

    Number i follows from `key + i * gamma` modulo 2^64, computed as `(key / gamma + i) * gamma`. `torch.compile` would
    write `i * gamma` into a CPU kernel as signed numbers that depend on the loop's counter alone. There an overflow is
    undefined: GCC 12 concluded that i is 0 or 1, and took out what handles the last features, so that the kernel wrote
    past the end of its output (PyTorch 2.15; tensors that are multiplied wrap, as they do uncompiled).
    """
    steps = torch.arange(1, count + 1, dtype=torch.int64, device=keys_N.device)
    x = ((_mix(keys_N) * _ONE_OVER_GAMMA)[:, None] + steps) * _GAMMA
    return _shifted(_mix(x), 40).float() * 2.0**-24


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shifted(x, 30)) * _FIRST
    x = (x ^ _shifted(x, 27)) * _SECOND
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """Right by `bits`, zeros coming in from the left."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)
