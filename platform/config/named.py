"""Sections whose settings depend on their `name`, as a network's and an optimiser's do: one dataclass for each name.

In: the dataclass of a name, settings of another or of a record. Out: the settings of that name.
"""

from dataclasses import MISSING, asdict, fields
from typing import Any, TypeVar

from platform.config.checks import require

T = TypeVar("T")


def known(kind: type[T], settings: dict[str, Any]) -> T:
    """A dataclass out of `dataclasses.asdict` of one, of an earlier version perhaps: what it has no more is left out.

    Raises:
        ConfigError: a value that cannot work.
    """
    names = {field.name for field in fields(kind)}  # pyright: ignore[reportArgumentType]
    return kind(**{key: value for key, value in settings.items() if key in names})


def converted(section: Any, kind: type[T], name: str, prefix: str, elsewhere: str = "") -> T:
    """The settings `kind` of another name for those of one, with all that both have.

    Args:
        section: what there is.
        kind: the dataclass of `name`.
        name: the other one.
        prefix: what the section is called in a config.
        elsewhere: where else `{}`, a setting that it does not have, may be given; for the error.

    Raises:
        ConfigError: it does not have a setting that is not as usual.
    """
    theirs = {each.name for each in fields(kind)}  # pyright: ignore[reportArgumentType]
    lost = [each.name for each in fields(section) if each.name not in theirs and not _is_usual(section, each)]
    said = f"{', '.join(f'{prefix}.{key}' for key in lost)}: {name} has no such setting"
    require(not lost, f"{said}; {elsewhere.format(' and '.join(lost))}leave it out")
    return known(kind, asdict(section) | {"name": name})


def _is_usual(section: Any, field: Any) -> bool:
    usual = field.default if field.default_factory is MISSING else field.default_factory()
    return getattr(section, field.name) == usual
