"""Any classifier of torchvision, with random initial weights: `model.name=torchvision/NAME`."""

import functools
from typing import Any

import torch
from torch import nn

from platform.config.checks import require
from platform.config.models import ModelConfig
from platform.models.arguments import made, require_arguments


def build(model: ModelConfig, classes: int, image_size: int) -> nn.Module:
    """The classifier as torchvision makes it; of images of any size that it takes.

    Raises:
        ConfigError: torchvision has none of that name, or it does not take a setting.
    """
    import torchvision.models  # seconds that other networks need not

    name, known = model.name.partition("/")[2], classifiers()
    require(name in known, f"model.name is {model.name!r}; torchvision has {', '.join(known)}")
    if model.settings:
        require_arguments(model, _class_of(name))
    extra = _extra(name, image_size)
    return made(model, torchvision.models.get_model, name, weights=None, num_classes=classes, **extra)


def classifiers() -> list[str]:
    """Their names, such as `resnet50`."""
    import torchvision.models

    return torchvision.models.list_models(module=torchvision.models)


def _extra(name: str, image_size: int) -> dict[str, Any]:
    """What some classes want to be told, or warn otherwise."""
    if name.startswith("vit_"):
        return {"image_size": image_size}
    return {"init_weights": True} if name in ("googlenet", "inception_v3") else {}


@functools.cache
def _class_of(name: str) -> type[nn.Module]:
    import torchvision.models

    with torch.random.fork_rng(devices=[]):
        return type(torchvision.models.get_model(name, weights=None, **_extra(name, 224)))
