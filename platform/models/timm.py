"""Any network of timm (PyTorch Image Models), with random initial weights: `model.name=timm/NAME`."""

import functools
from typing import Any

import torch
from torch import nn

from platform.config.checks import require
from platform.config.models import ModelConfig
from platform.models.arguments import made, nearest, require_arguments


def build(model: ModelConfig, classes: int, image_size: int) -> nn.Module:
    """The network as timm makes it; nothing is downloaded. One whose input has a fixed size is made for `image_size`.

    Raises:
        ConfigError: timm has none of that name, or it does not take a setting.
    """
    import timm  # seconds that other networks need not

    name = model.name.partition("/")[2]
    known = networks()
    near = nearest(name, known)
    remedy = f"did you mean {' or '.join(near)}?" if near else "timm.list_models() has their names"
    require(timm.is_model(name), f"model.name is {model.name!r}, which timm {timm.__version__} has not; {remedy}")
    require_tag(name)
    for key, value in model.settings.items():
        require(value is not None, f"model.settings.{key} is null, which timm ignores; leave it out")
    if model.settings:
        require_arguments(model, _class_of(name))
    size: dict[str, Any] = {"img_size": image_size} if has_fixed_size(name) else {}
    network = made(model, timm.create_model, name, pretrained=False, num_classes=classes, **size)
    if model.settings.get("aux_logits"):  # of Inception-v3, whose auxiliary logits come in evaluation too
        network.register_forward_hook(_main_in_evaluation)
    return network


def networks() -> list[str]:
    """Their names, such as `resnet50`, without those of weights (`resnet50.a1_in1k`)."""
    import timm

    return timm.list_models()


def require_tag(name: str) -> None:
    """A name such as `resnet50.a1_in1k`, which says which weights are meant too, has weights that timm knows.

    Raises:
        ConfigError: with those there are.
    """
    import timm

    network, _, tag = name.partition(".")
    tags = [each.partition(".")[2] for each in timm.list_pretrained(f"{network}.*")] if tag else []
    require(
        not tag or tag in tags,
        f"model.name is timm/{name}, and timm has no weights {tag!r} of {network}, only {', '.join(tags) or 'none'}; "
        f"give timm/{network}",
    )


def has_fixed_size(name: str) -> bool:
    """Whether its input has one size, which it is told when it is made."""
    import timm

    known = timm.get_pretrained_cfg(name)
    return bool(known and known.fixed_input_size)


@functools.cache
def _class_of(name: str) -> type[nn.Module]:
    """A network's class, by making one without memory: what makes it may be any function."""
    import timm

    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        return type(timm.create_model(name, pretrained=False))


def _main_in_evaluation(network: nn.Module, _: object, outputs: Any) -> Any:
    return outputs if network.training or not isinstance(outputs, tuple) else outputs[0]
