"""The network of `model`, with its initial weights; the same seed gives the same weights everywhere.

In: its settings (`platform/config/models.py`). Out: a module that returns logits in evaluation, and in training a tuple
whose later entries are the logits of auxiliary heads, if it has any.
"""

from importlib import import_module

import torch
from torch import Tensor, nn

from platform.config.models import ModelConfig, family
from platform.models.dropout import by_sample


def build(model: ModelConfig, classes: int, image_size: int, seed: int) -> nn.Module:
    """The network on the CPU, in float32, by `build` of its own module in this folder.

    Args:
        model: its settings.
        classes: outputs of each classifier.
        image_size: height and width in pixels of the training images, `[N, 3, H, W]`.
        seed: of the initial weights; PyTorch's global generator stays as it is.

    Raises:
        ConfigError: torchvision has no classifier of that name.
    """
    module = import_module(f"platform.models.{family(model.name).rstrip('/:')}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return by_sample(module.build(model, classes, image_size))


def logits_and_auxiliary(outputs: Tensor | tuple[Tensor | None, ...]) -> tuple[Tensor, list[Tensor]]:
    """A network's output in training as (main logits `[N, classes]`, auxiliary logits of the same shape)."""
    if isinstance(outputs, Tensor):
        return outputs, []
    main, *auxiliary = outputs
    assert main is not None
    return main, [logits for logits in auxiliary if logits is not None]
