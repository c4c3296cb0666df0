"""A config out of the record of one: what `dataclasses.asdict` made of it, as JSON or YAML gave it back.

In: nested plain dicts. Out: a typed, checked `Config`.
"""

from collections.abc import Iterator
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from platform.config.checks import ConfigError
from platform.config.models import model_of
from platform.config.optim import optimiser_class
from platform.config.sections import Config
from platform.text import first_line


def config_of(settings: dict[str, Any]) -> Config:
    """The config that was recorded; settings newer than the record have their defaults.

    Raises:
        ConfigError: a setting that this version has no more, or a value that it does not take.
    """
    if any("${" in text for text in _texts(settings)):
        raise ConfigError("a value of the record has ${, which would be looked up here; it is not used")
    try:
        others = {key: value for key, value in settings.items() if key != "model"}
        optimiser = optimiser_class(settings["optim"].get("name", "sgd"))  # once the only one, without a name
        typed = Config(model=model_of(settings["model"]), optim=optimiser())  # pyright: ignore[reportCallIssue]
        config = OmegaConf.to_object(OmegaConf.merge(typed, others))
    except (OmegaConfBaseException, KeyError, TypeError) as error:
        reason = f"{error.full_key} " if isinstance(error, OmegaConfBaseException) and error.full_key else ""
        raise ConfigError(f"{reason}cannot be taken from the record ({first_line(error)})") from error
    assert isinstance(config, Config)
    return config


def _texts(value: Any) -> Iterator[str]:
    """Every string in nested dicts and lists, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from map(str, value)
        yield from (text for each in value.values() for text in _texts(each))
    elif isinstance(value, list | tuple):
        yield from (text for each in value for text in _texts(each))
