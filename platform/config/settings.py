"""The settings of a config by their dotted keys: their types, and the ones that a mistyped key may mean.

In: nothing, or a key. Out: keys, read off the dataclasses of `sections`.
"""

import dataclasses
import difflib
import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any, get_args, get_origin, get_type_hints

from platform.config import synonyms
from platform.config.checks import ConfigError
from platform.config.cluster import ClusterConfig
from platform.config.identity import flatten
from platform.config.kubernetes import KubeConfig
from platform.config.models import MODELS, ModelConfig
from platform.config.optim import OPTIMISERS, OptimConfig
from platform.config.sections import Config

# Sections whose settings depend on their name
BY_NAME: dict[type, Mapping[str, type]] = {ModelConfig: MODELS, OptimConfig: OPTIMISERS}


@functools.cache
def strings() -> frozenset[str]:
    """Dotted keys of the settings that are strings."""
    return frozenset(key for key, kind in _settings(Config) if kind in (str, str | None))


def is_string(key: str) -> bool:
    """Whether a dotted key is of a setting that is a string; those of `data.also` are named by the user."""
    return key in strings() or re.fullmatch(r"data\.also\.[^.]+\.shards", key) is not None


@functools.cache
def lists() -> frozenset[str]:
    """Dotted keys of the settings that are lists."""
    return frozenset(key for key, kind in _settings(Config) if list in [get_origin(k) for k in (kind, *get_args(kind))])


def sections() -> dict[str, list[str]]:
    """Section -> the names of the settings directly in it."""
    found: dict[str, list[str]] = {}
    for key, _ in _settings(Config):
        section, _, name = key.rpartition(".")
        found.setdefault(section, []).append(name)
    return found


def _settings(section: type, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, type) of each, those of every network and every optimiser that there is among them."""
    for name, kind in get_type_hints(section).items():
        inner = [each for each in (kind, *get_args(kind)) if dataclasses.is_dataclass(each)]
        if kind in BY_NAME:
            kinds = BY_NAME[kind].values()
            yield from {key: of for each in kinds for key, of in _settings(each, f"{prefix}{name}.")}.items()
        elif inner:
            yield from _settings(inner[0], f"{prefix}{name}.")  # pyright: ignore[reportArgumentType]
        else:
            yield f"{prefix}{name}", kind


def unknown_key(key: str) -> str:
    """The error message for a key that Hydra does not find, with the nearest keys that exist."""
    usual = flatten(asdict(Config(cluster=ClusterConfig(kube=KubeConfig()))))
    known = list(dict.fromkeys([*usual, *(key for _, key in sorted(_special_settings()))]))
    if owners := [name for name, each in _special_settings() if each == key]:
        said = f"{key} is a setting of {', '.join(owners)}, and another"
        if not key.startswith("model."):
            return f"{said} optimiser is chosen here; leave it out"
        inside = f"model.settings.{key.removeprefix('model.')}"
        return (
            f"{said} network is chosen here; leave it out, or give {inside}, if a network of torchvision, of timm "
            "or of your own takes that"
        )
    if key in known:
        return f"{key} gets entries it does not have yet; write +{key}=..."
    if meant := synonyms.of_setting(key):
        return f"{key} does not exist; did you mean {meant}?"
    near = _of_other_sections(key, known) or difflib.get_close_matches(key, known, n=3, cutoff=0.6)
    remedy = f"did you mean {' or '.join(near)}?" if near else "see --cfg job for all keys"
    return f"{key} does not exist; {remedy}"


def _of_other_sections(key: str, known: list[str]) -> list[str]:
    """Settings of the same name, as optim.lr is of training.lr; none where there are many, as of `x.name`."""
    name = key.rpartition(".")[2]
    found = [each for each in known if each.rpartition(".")[2] == name]
    return found if len(found) <= 3 else []


def _special_settings() -> list[tuple[str, str]]:
    """(name, dotted key) of what not every network has, or not every optimiser."""
    return [
        (name, f"{section}.{each.name}")
        for section, kind in (("model", ModelConfig), ("optim", OptimConfig))
        for name, special in BY_NAME[kind].items()
        for each in dataclasses.fields(special)
        if each.name not in {common.name for common in dataclasses.fields(kind)}
    ]


def refuse_empty(config: Config) -> None:
    """Refuse empty strings, as an unset shell variable leaves them: no path and no name is empty.

    Raises:
        ConfigError: with the setting.
    """
    usual = Config(cluster=ClusterConfig(kube=KubeConfig()))
    for key in sorted(strings()):
        if _value(config, key) == "" and _value(usual, key) != "":
            raise ConfigError(f"{key} is empty; give a value, or leave it out")


def _value(config: Any, key: str) -> Any:
    """None of a section that is not there."""
    return functools.reduce(lambda section, name: getattr(section, name, None), key.split("."), config)
