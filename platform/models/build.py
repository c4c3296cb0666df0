"""`model.name` to a network with its initial weights; the same seed gives the same weights everywhere.

Every network returns logits in evaluation; in training a tuple whose later entries are auxiliary logits, if any.
"""

from typing import Any

import torch
from torch import Tensor, nn

from platform.config.checks import ConfigError
from platform.config.sections import TORCHVISION, ModelConfig
from platform.models.dropout import by_sample
from platform.models.googlenet import GoogLeNet


def build(model: ModelConfig, classes: int, image_size: int, seed: int) -> nn.Module:
    """The network on the processor, in float32.

    Raises:
        ConfigError: torchvision has no classifier of that name, or it does not take these settings.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if model.name.startswith(TORCHVISION):
            check(model)
            return by_sample(_torchvision(model.name.removeprefix(TORCHVISION), classes))
        googlenet = GoogLeNet(
            classes,
            image_size,
            width=model.width,
            batch_norm=model.batch_norm,
            naive=model.naive,
            local_response_norm=model.local_response_norm,
            dropout=model.dropout,
        )
        return by_sample(googlenet)


def check(model: ModelConfig) -> None:
    """Raise ConfigError for a name torchvision does not know or settings it does not take, building nothing."""
    if model.name.startswith(TORCHVISION):
        name = model.name.removeprefix(TORCHVISION)
        if name not in torchvision_classifiers():
            raise ConfigError(f"model.name is {model.name!r}; torchvision has {', '.join(torchvision_classifiers())}")
        if model.width != 1 or model.batch_norm or model.naive or model.local_response_norm:
            raise ConfigError(
                f"model.width, batch_norm, naive and local_response_norm shape googlenet, not {model.name}; "
                "leave them out"
            )


def torchvision_classifiers() -> list[str]:
    import torchvision.models  # here and below: seconds that only its own networks need

    return torchvision.models.list_models(module=torchvision.models)


def _torchvision(name: str, classes: int) -> nn.Module:
    import torchvision.models

    extra: dict[str, Any] = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    return torchvision.models.get_model(name, weights=None, num_classes=classes, **extra)


def logits_and_auxiliary(outputs: Tensor | tuple[Tensor | None, ...]) -> tuple[Tensor, list[Tensor]]:
    """A network's output in training as (main logits, auxiliary logits)."""
    if isinstance(outputs, Tensor):
        return outputs, []
    main, *auxiliary = outputs
    assert main is not None
    return main, [logits for logits in auxiliary if logits is not None]
