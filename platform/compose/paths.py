"""Paths of a config: `~` becomes a home folder, and what is relative is of the directory the command was given in.

In: a typed config. Out: the same with other paths.
"""

import functools
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from platform.config.checks import ConfigError
from platform.config.data import MEMORY
from platform.config.identity import replaced
from platform.config.sections import Config
from platform.data.urls import is_remote

# Settings that are paths (or addresses) of the machine that the command runs on.
PATHS = (
    "output_dir",
    "data.shards",
    "data.source",
    "storage.cache",
    "checkpoint.copy_to",
    "cluster.render_to",
    "bench.json",
    "bench.photos",
    "promote.sweep",
    "compare.output",
    "distill.teacher",
    "model.init",
    "predict.images",
    "predict.model",
    "predict.output",
    "predict.sheet",
    "serve.model",
    "tracking.uri",
)
# In front of a path, also of sqlite:///~/mlflow.db, file:~/mlruns and torchvision:CIFAR10@~/data.
HOME = re.compile(r"(^|^[\w+]+:///|^(?:file|local):(?://)?|^torchvision:\w+@)(~[^/?]*)")


def at_home(config: Config) -> Config:
    """A config with the home folder in the place of each `~` in front of a path.

    Raises:
        ConfigError: there is no such home folder.
    """
    for key, value in home_paths(config):
        config = replaced(config, key, HOME.sub(functools.partial(_home, key, value), value))
    return config


def home_paths(config: Config) -> Iterator[tuple[str, str]]:
    """(key, value) of the paths below a `~`."""
    paths = {key: functools.reduce(getattr, key.split("."), config) for key in PATHS} | config.data.places
    for key, value in paths.items():
        if isinstance(value, str) and HOME.match(value):
            yield key, value


def _home(key: str, value: str, found: re.Match[str]) -> str:
    try:
        return found[1] + str(Path(found[2]).expanduser())
    except RuntimeError as error:
        raise ConfigError(f"{key} is {value}, and {found[2]} is no home folder; write the whole path") from error


def absolute(config: Config) -> Config:
    """A config whose paths mean the same in every directory: workers have others."""
    copy_to, cache = config.checkpoint.copy_to, config.storage.cache
    return replace(
        config,
        output_dir=str(Path(config.output_dir).absolute()),
        data=replace(
            config.data,
            shards=_absolute(config.data.shards),
            also={name: replace(each, shards=_absolute(each.shards)) for name, each in config.data.others.items()},
        ),
        checkpoint=replace(config.checkpoint, copy_to=_absolute(copy_to) if copy_to else None),
        storage=replace(config.storage, cache=cache if cache == MEMORY else _absolute(cache)),
    )


def _absolute(path: str) -> str:
    return path if is_remote(path) else str(Path(path).absolute())
