"""Convolutions whose gradient a CPU computes wrongly in channels_last.

In: a network. Out: a `ConfigError` that names them.
"""

from torch import nn

from platform.config.checks import require
from platform.text import some

CHANNELS = 16  # of a vector of AVX-512 in float32; with AVX2 eight
SHOWN = 3


def narrow_strided(network: nn.Module) -> list[str]:
    """Names of convolutions of 1x1 with a stride and fewer than 16 input channels."""
    return [
        name
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Conv2d)
        and layer.kernel_size == (1, 1)
        and layer.stride != (1, 1)
        and layer.groups == 1
        and layer.in_channels < CHANNELS
    ]


def require_none_narrow(names: list[str], model: str) -> None:
    """Refuse these on a CPU in channels_last. In PyTorch 2.15 oneDNN computes their gradient with memory for fewer
    channels than it writes (https://github.com/uxlfoundation/oneDNN/issues/6035, open in November 2026): with 3 to 15
    channels gradients were wrong by a quarter, or the process ended. Other layouts and 16 channels are right.

    Raises:
        ConfigError: there are some.
    """
    require(
        not names,
        f"{model} has 1x1 convolutions with a stride and fewer than {CHANNELS} input channels ({some(names, SHOWN)}), "
        "whose gradients PyTorch computes wrongly on a CPU in channels_last; set training.channels_last=false, or give "
        "a wider network",
    )
