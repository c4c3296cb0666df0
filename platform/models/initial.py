"""Weights of one network as those that another begins with: matched by name and shape, the rest stays as it was drawn.

In: a network, and tensors by their names. Out: the network with those that fit, and a `Fit` that says which do not.
They are kept as safetensors, which hold no code.
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from platform.config.checks import ConfigError
from platform.config.models import ModelConfig
from platform.files import replacing

ENOUGH = 0.5  # of a network's numbers outside its classifiers; of another family less fits
SHOWN = 3  # names in a message
CLASSES = "classes"  # key of the file's metadata
Normalisation = tuple[list[float], list[float]]  # mean and standard deviation per channel, of values 0..1


@dataclass(frozen=True)
class Weights:
    """The state of a network that was trained."""

    tensors: dict[str, Tensor]  # on the CPU
    classes: list[str] | None = None  # names of its classes; None: not known
    normalised: Normalisation | None = None  # its images; None: not known, and not kept in a file

    def digest(self) -> str:
        """16 hexadecimal digits of names, types, shapes and numbers, whatever file they came in."""
        found = hashlib.sha256()
        for name, tensor in sorted(self.tensors.items()):
            found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            found.update(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return found.hexdigest()[:16]

    def write(self, path: Path) -> None:
        """Write them as safetensors, whole or not at all.

        Raises:
            OSError: the disk does not take it.
        """
        from safetensors.torch import save_file

        path.parent.mkdir(parents=True, exist_ok=True)
        metadata = {} if self.classes is None else {CLASSES: json.dumps(self.classes)}
        tensors = {name: tensor.detach().clone().contiguous() for name, tensor in self.tensors.items()}
        with replacing(path) as unfinished:
            save_file(tensors, unfinished, metadata)

    @classmethod
    def read(cls, path: Path) -> "Weights":
        """Those of a safetensors file.

        Raises:
            OSError: it is not there.
            SafetensorError: it is none.
        """
        from safetensors import safe_open

        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no dict
            named = (file.metadata() or {}).get(CLASSES)
        return cls(tensors, json.loads(named) if named else None)


@dataclass(frozen=True)
class Fit:
    """What of some weights a network begins with. Shapes are those of the network, except of what is left over."""

    taken: dict[str, list[int]]
    new_classifier: dict[str, list[int]]  # of classifiers for other classes, which keep their own draw
    other_shape: dict[str, tuple[list[int], list[int]]]  # (theirs, the network's); the network's draw is kept
    missing: dict[str, list[int]]  # which the weights do not have
    left_over: dict[str, list[int]]  # which the network does not have
    converted: list[str]  # taken, but of another type of number
    numbers: int  # taken, outside classifiers
    numbers_of: int  # that the network has outside classifiers

    @property
    def text(self) -> str:
        """Counts for people, in one line."""
        parts = {
            "of a new classifier": self.new_classifier,
            "of another shape": self.other_shape,
            "missing": self.missing,
            "left over": self.left_over,
            "of another type of number, converted": self.converted,
        }
        more = [f"{len(names)} {what} ({_some(names)})" for what, names in parts.items() if names]
        return f"{len(self.taken)} tensors taken" + "".join(f"; {each}" for each in more)

    def require_enough(self, init: str, model: str) -> None:
        """Refuse the weights of another network.

        Args:
            init: where they are from.
            model: the network's name.

        Raises:
            ConfigError: with the counts.
        """
        if self.numbers < ENOUGH * max(1, self.numbers_of):
            raise ConfigError(
                f"model.init is {init}, of which only {self.numbers:,} of the {self.numbers_of:,} numbers of {model} "
                f"outside its classifiers are taken ({self.text}); give weights of the same network"
            )


def classifiers(model: ModelConfig, classes: int, image_size: int) -> set[str]:
    """Names of the parameters of a network's classifiers: those whose shape depends on the number of classes."""
    from platform.models.rehearsal import on_meta

    one, other = (on_meta(model, count, image_size).state_dict() for count in (classes, classes + 1))
    return {name for name, tensor in one.items() if tensor.shape != other[name].shape}


def fit(own: Mapping[str, Tensor], weights: Mapping[str, Tensor], heads: Collection[str], *, same_classes: bool) -> Fit:
    """Match weights with a network's state by name and shape.

    Args:
        own: the network's state.
        weights: the others.
        heads: names of its classifiers' parameters.
        same_classes: whether the weights are of the same classes as far as that is known: a classifier of other ones
            is not taken, whatever its shape.
    """
    taken, new, other, missing, converted = {}, {}, {}, {}, []
    for name, tensor in own.items():
        shape = list(tensor.shape)
        if name not in weights:
            missing[name] = shape
        elif name in heads and (not same_classes or weights[name].shape != tensor.shape):
            new[name] = shape
        elif weights[name].shape != tensor.shape:
            other[name] = (list(weights[name].shape), shape)
        else:
            taken[name] = shape
            converted += [name] if weights[name].dtype != tensor.dtype else []
    left_over = {name: list(tensor.shape) for name, tensor in weights.items() if name not in own}
    body = {name: tensor.numel() for name, tensor in own.items() if name not in heads}
    numbers = sum(count for name, count in body.items() if name in taken)
    return Fit(taken, new, other, missing, left_over, converted, numbers, sum(body.values()))


def have_same_classes(weights: Weights, classes: list[str]) -> bool:
    """Whether the weights are of these classes; names that are not known on both sides are not compared."""
    return weights.classes is None or not classes or weights.classes == classes


@torch.no_grad()
def start_from(network: nn.Module, weights: Weights, heads: Collection[str], classes: list[str]) -> Fit:
    """Give a network the weights that fit; its parameters and buffers change in place.

    Args:
        network: as it was built.
        weights: the others.
        heads: names of its classifiers' parameters.
        classes: names of its classes; empty: nobody named them.
    """
    own = network.state_dict()
    found = fit(own, weights.tensors, heads, same_classes=have_same_classes(weights, classes))
    for name in found.taken:
        own[name].copy_(weights.tensors[name])
    return found


def _some(names: Collection[str]) -> str:
    """The first of them."""
    first = [name if len(name) < 80 else f"{name[:77]}..." for name in list(names)[:SHOWN]]
    return ", ".join(first) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
