"""Any classifier of torchvision, with random initial weights: `model.name=torchvision/NAME`."""

from typing import Any

from torch import nn

from platform.config.checks import require
from platform.config.models import ModelConfig


def build(model: ModelConfig, classes: int, image_size: int) -> nn.Module:
    """The classifier as torchvision makes it; of images of any size that it takes.

    Raises:
        ConfigError: torchvision has none of that name.
    """
    import torchvision.models  # seconds that other networks need not

    name, known = model.name.partition("/")[2], classifiers()
    require(name in known, f"model.name is {model.name!r}; torchvision has {', '.join(known)}")
    extra: dict[str, Any] = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    return torchvision.models.get_model(name, weights=None, num_classes=classes, **extra)


def classifiers() -> list[str]:
    """Their names, such as `resnet50`."""
    import torchvision.models

    return torchvision.models.list_models(module=torchvision.models)
