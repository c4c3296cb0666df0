"""Whether a network trains on images of a size, and what it draws: a pass each way on PyTorch's meta device.

Tensors have a shape and no memory there, so that it takes a second or two whatever the network's size.
In: settings of a network. Out: a `ConfigError`, or a line about random numbers that do not follow from the images.
"""

import functools
import json
from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from platform.config.checks import ConfigError, require
from platform.config.models import ModelConfig, OwnModelConfig, model_of
from platform.models import dropout
from platform.models.build import build, logits_and_auxiliary
from platform.models.strided import narrow_strided, require_none_narrow
from platform.text import first_line, some

META = torch.device("meta")
SIZES = (32, 48, 64, 75, 96, 112, 128, 160, 192, 224, 240, 256, 260, 288, 299, 300, 320, 380, 384, 448, 456, 512, 518)
DRAWS = ("normal_", "uniform_", "trunc_normal_")


def rehearse(
    model: ModelConfig,
    classes: int,
    image_size: int,
    images: int,
    trained_on: Collection[int] = (),
    *,
    channels_last_on_cpu: bool = False,
) -> str | None:
    """Refuse a network that cannot train on `images` (the fewest in one pass) of `image_size` pixels each way.

    Args:
        model: its settings.
        classes: outputs of each classifier.
        image_size: that it is built for, and tested with.
        images: the fewest in one pass.
        trained_on: sizes of `training.sizes`; empty: `image_size`.
        channels_last_on_cpu: it is trained so.

    Returns:
        a line about what it does in training that depends on the number of workers; None: nothing.

    Raises:
        ConfigError: there is none of that name, its settings or outputs are wrong; or with what PyTorch says, and with
            the nearest size or number of images that works; or it is one's own and has parameters that it does not use;
            or it has convolutions whose gradients would be wrong.
    """
    drawn: set[str] = set()
    unused: dict[str, None] = {}
    for size in trained_on or [image_size]:
        found = _tried(model, classes, image_size, images, size)
        drawn |= set(found.draws)
        unused |= dict.fromkeys(found.unused)
        if channels_last_on_cpu:
            require_none_narrow(list(found.narrow), model.name)
    said = [_about_unused(model, list(unused)), _about_draws(model, tuple(sorted(drawn)))]
    return "; ".join(filter(None, said)) or None


def _tried(model: ModelConfig, classes: int, image_size: int, images: int, size: int) -> "Rehearsed":
    """What it does when it trains on images of `size`; raises what `rehearse` does of its sizes."""
    found = _rehearsed(_key(model), classes, image_size, min(images, 2), size)
    if found.refusal is None:
        return found
    why = found.refusal
    if images == 1 and _rehearsed(_key(model), classes, image_size, 2, size).refusal is None:
        raise ConfigError(
            f"{model.name} cannot train on one image at a time ({why}), which is the smallest share of a worker; raise "
            "training.batch_size or training.max_batch_per_worker, or lower cluster.workers"
        )
    if size != image_size:
        raise ConfigError(
            f"{model.name}, built for images of data.image_size={image_size}, does not train on those of {size} px in "
            f"training.sizes ({why}); leave that size out, or give another model.name"
        )
    fitting = _nearest_size(model, classes, image_size)
    remedy = f"give data.image_size={fitting}, or another model.name" if fitting else "give another model.name"
    raise ConfigError(f"{model.name} does not train on images of data.image_size={image_size} ({why}); {remedy}")


def _about_unused(model: ModelConfig, names: list[str]) -> str | None:
    """Parameters without a gradient, for which several workers would wait in vain: PyTorch ends such a training at its
    second step. A network of one's own can be changed.

    Raises:
        ConfigError: it is one's own.
    """
    if not names:
        return None
    said = f"{model.name} has parameters that its training does not use ({some(names, 3)})"
    require(
        not isinstance(model, OwnModelConfig),
        f"{said}, with which it does not train on several workers; use them in forward, leave them out, or set their "
        "requires_grad to False",
    )
    return f"{said}: it trains on one worker only, give cluster.workers=1"


def _about_draws(model: ModelConfig, draws: tuple[str, ...]) -> str | None:
    """Dropout and stochastic depth as layers follow from the images, see `platform/models/dropout.py`."""
    if not draws:
        return None
    return (
        f"{model.name} draws random numbers of its own in training ({', '.join(draws)}), which follow from the step "
        "and the worker and not from the images: with another number of workers they are others"
    )


def _nearest_size(model: ModelConfig, classes: int, image_size: int) -> int | None:
    for size in sorted(SIZES, key=lambda size: abs(size - image_size)):
        if _rehearsed(_key(model), classes, size, 2, size).refusal is None:
            return size
    return None


def _key(model: ModelConfig) -> str:
    """Settings as what a cache can know them by."""
    return json.dumps(asdict(model))


@dataclass(frozen=True)
class Rehearsed:
    """What came of it."""

    refusal: str | None = None  # the error that PyTorch raises, in a line
    draws: tuple[str, ...] = ()  # PyTorch's names of the random operations of the forward pass
    unused: tuple[str, ...] = ()  # names of parameters that want a gradient and have none
    narrow: tuple[str, ...] = ()  # names of convolutions, see `narrow_strided`


@functools.cache
def _rehearsed(settings: str, classes: int, image_size: int, images: int, size: int) -> Rehearsed:
    """Trained on images of `size`, tested on those of `image_size`. Nothing is refused where an operation is not known
    on the meta device.

    Raises:
        ConfigError: there is no such network, or it gives something else than logits.
    """
    model, drawn = model_of(json.loads(settings)), _Draws()
    try:
        network = on_meta(model, classes, image_size).train()
        narrow = tuple(narrow_strided(network))
        batch = torch.empty(images, 3, size, size, device=META)
        dropout.set_keys(dropout.layers(network), torch.empty(images, dtype=torch.int64, device=META))
        with drawn:
            outputs = network(batch)
        main, auxiliary = logits_and_auxiliary(_logits(model, outputs, (images, classes), "training"))
        (main.sum() + sum(logits.sum() for logits in auxiliary)).backward()
        unused = [name for name, each in network.named_parameters() if each.requires_grad and each.grad is None]
        tested = torch.empty(images, 3, image_size, image_size, device=META)
        with torch.no_grad():
            _logits(model, (network.eval()(tested),), (images, classes), "evaluation")
    except NotImplementedError:
        return Rehearsed()
    except ConfigError:
        raise
    except Exception as error:  # whatever torch and torchvision raise: RuntimeError, ValueError, AssertionError ...
        return Rehearsed(first_line(error).rstrip("."))
    return Rehearsed(draws=tuple(sorted(drawn.names)), unused=tuple(unused), narrow=narrow)


def _logits(model: ModelConfig, outputs: Any, shape: tuple[int, int], mode: str) -> Tensor | tuple[Tensor | None, ...]:
    """What a network gives, if it is logits, or a tuple of them in training.

    Raises:
        ConfigError: it is something else.
    """
    found = outputs if isinstance(outputs, tuple) else (outputs,)
    for each in found:
        if not (isinstance(each, Tensor) and each.shape == shape) and not (each is None and each is not found[0]):
            what = f"a tensor {list(each.shape)}" if isinstance(each, Tensor) else f"a {type(each).__name__}"
            raise ConfigError(
                f"{model.name} gives {what} in {mode}, where logits [images, classes] = {list(shape)} belong; "
                "change its settings, or give another model.name"
            )
    return outputs


def on_meta(model: ModelConfig, classes: int, image_size: int) -> nn.Module:
    """The network with shapes and no numbers, which takes no memory."""
    with _NothingDrawn():
        try:
            with META:
                return build(model, classes, image_size, seed=0)
        except (NotImplementedError, RuntimeError) as error:  # RegNet's widths are computed with tensors
            if not isinstance(error, NotImplementedError) and "meta" not in str(error):
                raise
            return build(model, classes, image_size, seed=0).to(META)


class _NothingDrawn(TorchFunctionMode):
    """Skips the initialisation of weights, whose values are not used here."""

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in DRAWS:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


class _Draws(TorchDispatchMode):
    """Notes the random operations, attention without dropout not among them."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if torch.Tag.nondeterministic_seeded in func.tags:
            given = dict(zip((each.name for each in func._schema.arguments), args, strict=False)) | (kwargs or {})
            if given.get("dropout_p", 1) > 0:
                self.names.add(func._schema.name.removeprefix("aten::").rstrip("_"))
        return func(*args, **(kwargs or {}))
