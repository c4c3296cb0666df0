"""A network of one's own: `model.name=MODULE:FUNCTION`, a function of a module that is imported by its name.

In: its settings. Out: what the function returns. The module is code of whoever gives the command: nothing that was
recorded, downloaded or exported is imported by a name it brings along.
"""

import inspect
import traceback
from collections.abc import Callable
from importlib import import_module

from torch import nn

from platform.config.checks import ConfigError, require
from platform.config.models import OwnModelConfig
from platform.models.arguments import made, nearest, require_arguments
from platform.models.sources import require_same
from platform.text import first_line

CONTRACT = "write def {}(classes: int, image_size: int) -> torch.nn.Module, with settings behind these as keywords"


def build(model: OwnModelConfig, classes: int, image_size: int) -> nn.Module:
    """What the function returns for `(classes, image_size, **model.settings)`.

    Raises:
        ConfigError: there is no such function, its source is not that of the launcher, it does not take a setting, it
            raises, or returns no network.
    """
    require_same(model)
    function = function_of(model.name)
    require_arguments(model, function)
    try:
        network = made(model, function, classes, image_size)
    except ConfigError:
        raise
    except Exception as error:  # whatever it raises
        if isinstance(error, NotImplementedError) or "meta" in str(error):  # see rehearsal.on_meta
            raise
        raise ConfigError(f"{model.name} raises {_said(error)}") from error
    require(
        isinstance(network, nn.Module),
        f"{model.name} returns a {type(network).__name__}; return a torch.nn.Module",
    )
    return network


def function_of(name: str) -> Callable[..., nn.Module]:
    """MODULE:FUNCTION, imported.

    Raises:
        ConfigError: there is none, importing it fails, or it does not take what it is given.
    """
    module, _, function = name.partition(":")
    try:
        imported = import_module(module)
    except Exception as error:
        raise ConfigError(f"model.name is {name}, and importing {module} raises {_said(error)}") from error
    found = getattr(imported, function, None)
    names = [key for key, value in vars(imported).items() if inspect.isfunction(value)]
    near = nearest(function, names) or names
    require(
        callable(found),
        f"model.name is {name}, and {module} has no function {function}; "
        + (f"did you mean {' or '.join(near)}?" if near else CONTRACT.format(function)),
    )
    try:
        inspect.signature(found).bind(0, 0)  # pyright: ignore[reportArgumentType]
    except TypeError as error:
        raise ConfigError(
            f"{name} cannot be called with (classes, image_size): {error}; {CONTRACT.format(function)}"
        ) from None
    return found  # pyright: ignore[reportReturnType]


def _said(error: Exception) -> str:
    """An exception in a line, with the place of the code that raised it."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {first_line(error)} ({last.filename}:{last.lineno})"
