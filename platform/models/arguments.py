"""The arguments that `model.settings` gives to a network's class or function, checked against its signature.

In: a class or function, and names with plain values. Out: nothing, or a `ConfigError` with the
nearest names or the type.
"""

import collections.abc
import dataclasses
import difflib
import inspect
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

from platform.config.checks import ConfigError, require
from platform.config.models import ModelConfig
from platform.text import first_line

GIVEN = {
    "num_classes": "data.classes",
    "classes": "data.classes",
    "img_size": "data.image_size",
    "image_size": "data.image_size",
}
NOT_SETTINGS = ("in_chans", "device", "dtype")  # images have three channels; the others are training's
WORDS = {float: "a number", int: "a whole number", bool: "true or false", str: "text", types.NoneType: "null"}


def require_arguments(model: ModelConfig, made_by: Callable[..., nn.Module]) -> None:
    """`made_by` takes all of `model.settings`, by name and type.

    Args:
        model: whose settings.
        made_by: a network's class, whose bases are asked as well, or a function.

    Raises:
        ConfigError: with the nearest names, or what it takes.
    """
    known = parameters(made_by)
    for key, value in model.settings.items():
        said = f"model.settings.{key}"
        require(key not in GIVEN, f"{said} is {value!r}, and {GIVEN.get(key)} says so already; leave it out")
        if key not in known and _takes_any(made_by):
            continue
        require(key in known, f"{said}: {model.name} has no such setting; {_instead(key, list(known))}")
        require(takes(known[key], value), f"{said} is {value!r}; {model.name} takes {described(known[key])}")


def parameters(made_by: Callable[..., Any]) -> dict[str, Any]:
    """What can be given by name -> its type; Any: not known.

    Settings that a class has in a dataclass of its own, as timm's NFNets have, are among them.
    """
    found: dict[str, Any] = {}
    for function in _signatures(made_by):
        hints = _hints(function)
        for each in inspect.signature(function).parameters.values():
            if each.name == "self" or each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD, each.POSITIONAL_ONLY):
                continue
            kind = hints.get(each.name, _type_of(each.default))
            if dataclasses.is_dataclass(kind):
                found |= {name: of for name, of in _hints(kind).items() if name not in found}
            else:
                found.setdefault(each.name, kind)
    return {name: kind for name, kind in found.items() if name not in GIVEN and name not in NOT_SETTINGS}


def takes(kind: Any, value: Any) -> bool:
    """Whether a plain value is of a type; whole numbers are numbers, lists do for tuples."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(takes(each, value) for each in inner)
    if origin is typing.Literal:
        return value in inner
    if isinstance(origin or kind, type) and issubclass(origin or kind, collections.abc.Sequence) and kind is not str:
        return isinstance(value, list | tuple) and all(takes(inner[0] if inner else Any, each) for each in value)
    if isinstance(origin or kind, type) and issubclass(origin or kind, collections.abc.Mapping):
        return isinstance(value, dict)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind in (int, bool, str, types.NoneType):
        return type(value) is kind
    return False  # a function or a class, of which the config has none


def described(kind: Any) -> str:
    """A type in words."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(described(each) for each in inner))
    if origin is typing.Literal:
        return f"one of {', '.join(map(str, inner))}"
    if kind in WORDS:
        return WORDS[kind]
    if isinstance(origin or kind, type) and issubclass(origin or kind, collections.abc.Sequence):
        return f"a list, each {described(inner[0])}" if inner and inner[0] is not Any else "a list"
    return "something that no text can give"


def made(model: ModelConfig, build: Callable[..., nn.Module], *args: Any, **known: Any) -> nn.Module:
    """`build(*args, **known)` with the settings of `model` as well.

    Raises:
        ConfigError: the settings do not go together, in the words of whoever found out.
    """
    try:
        return build(*args, **known, **given(model))
    except (ConfigError, NotImplementedError):
        raise
    except Exception as error:  # assertions, TypeErrors and whatever else a library raises
        if not model.settings:
            raise
        written = ", ".join(f"{key}: {value}" for key, value in model.settings.items())
        said = f"{model.name} cannot be made with model.settings={{{written}}} ({first_line(error)}); give others"
        raise ConfigError(said) from error


def given(model: ModelConfig) -> dict[str, Any]:
    """`model.settings` as a class takes them: tuples for lists."""
    return {key: _tuples(value) for key, value in model.settings.items()}


def nearest(name: str, names: list[str]) -> list[str]:
    """Up to three names that resemble it, the most alike first."""
    return difflib.get_close_matches(name, names, n=3, cutoff=0.5)


def _takes_any(made_by: Callable[..., Any]) -> bool:
    """Whether it is a function that names not all it takes: it will say itself what it does not know."""
    return not isinstance(made_by, type) and any(
        each.kind is each.VAR_KEYWORD for each in inspect.signature(made_by).parameters.values()
    )


def _instead(key: str, known: list[str]) -> str:
    near = nearest(key, known)
    return f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(known) or 'none'}"


def _signatures(made_by: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """The function, or the class's own `__init__` and, while each hands on what it does not name, its bases'."""
    if not isinstance(made_by, type):
        yield made_by
        return
    for each in made_by.__mro__:
        if each is nn.Module:
            return
        if own := each.__dict__.get("__init__"):
            yield own
            if not any(p.kind is p.VAR_KEYWORD for p in inspect.signature(own).parameters.values()):
                return


def _hints(of: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(of)
    except (NameError, TypeError, AttributeError):  # of names that are not there at run time
        return {}


def _type_of(default: Any) -> Any:
    """Of a parameter without a type: that of its default. A default of 0 may well stand for a number."""
    return {bool: bool, float: float, int: float, str: str}.get(type(default), Any)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
