"""Whether a network trains on images of a size: a forward and backward pass on PyTorch's meta device.

Tensors have a shape and no memory there, so that it takes a second or two whatever the network's size.
"""

import functools
import json
from dataclasses import asdict
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from platform.config.checks import ConfigError
from platform.config.models import ModelConfig, model_of
from platform.models.build import build, logits_and_auxiliary
from platform.text import first_line

META = torch.device("meta")
SIZES = (32, 48, 64, 75, 96, 112, 128, 160, 192, 224, 240, 256, 260, 288, 299, 300, 320, 380, 384, 448, 456, 512, 518)
DRAWS = ("normal_", "uniform_", "trunc_normal_")


def rehearse(model: ModelConfig, classes: int, image_size: int, images: int) -> None:
    """Refuse a network that cannot train on `images` (the fewest in one pass) of `image_size` pixels each way.

    Raises:
        ConfigError: there is none of that name; or with what PyTorch says, and with the nearest size or number of
            images that works.
    """
    why = _refusal(_key(model), classes, image_size, min(images, 2))
    if why is None:
        return
    if images == 1 and _refusal(_key(model), classes, image_size, 2) is None:
        raise ConfigError(
            f"{model.name} cannot train on one image at a time ({why}), which is the smallest share of a worker; raise "
            "training.batch_size or training.max_batch_per_worker, or lower cluster.workers"
        )
    fitting = _nearest_size(model, classes, image_size)
    remedy = f"give data.image_size={fitting}, or another model.name" if fitting else "give another model.name"
    raise ConfigError(f"{model.name} does not train on images of data.image_size={image_size} ({why}); {remedy}")


def _nearest_size(model: ModelConfig, classes: int, image_size: int) -> int | None:
    for size in sorted(SIZES, key=lambda size: abs(size - image_size)):
        if _refusal(_key(model), classes, size, 2) is None:
            return size
    return None


def _key(model: ModelConfig) -> str:
    """Settings as what a cache can know them by."""
    return json.dumps(asdict(model))


@functools.cache
def _refusal(settings: str, classes: int, image_size: int, images: int) -> str | None:
    """The error that PyTorch raises, in a line; None: none, or an operation is not known on the meta device."""
    try:
        network = on_meta(model_of(json.loads(settings)), classes, image_size).train()
        main, auxiliary = logits_and_auxiliary(network(torch.empty(images, 3, image_size, image_size, device=META)))
        (main.sum() + sum(logits.sum() for logits in auxiliary)).backward()
    except NotImplementedError:
        return None
    except ConfigError:  # there is no such network
        raise
    except Exception as error:  # whatever torch and torchvision raise: RuntimeError, ValueError, AssertionError ...
        return first_line(error).rstrip(".")
    return None


def on_meta(model: ModelConfig, classes: int, image_size: int) -> nn.Module:
    """The network with shapes and no numbers, which takes no memory."""
    with _NothingDrawn():
        try:
            with META:
                return build(model, classes, image_size, seed=0)
        except NotImplementedError:  # RegNet's widths are computed with tensors
            return build(model, classes, image_size, seed=0).to(META)


class _NothingDrawn(TorchFunctionMode):
    """Skips the initialisation of weights, whose values are not used here."""

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in DRAWS:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))
