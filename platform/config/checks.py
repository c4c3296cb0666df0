"""What settings are checked by: `ConfigError`, and functions that raise it with the value, the limit and the remedy."""

import dataclasses
import itertools
from collections.abc import Collection
from typing import Any
from urllib.parse import urlsplit

from platform.config import synonyms
from platform.overrides import is_of_section
from platform.redaction import sealed_deeply, unsealed


class ConfigError(ValueError):
    """A setting that cannot work. The message is one line: the value, the limit, the remedy."""


class NotComposed(ConfigError):
    """Hydra makes no config out of some overrides: a key or a choice that does not exist, a value of another type."""


class CannotGoOn(RuntimeError):
    """Stops every member of an experiment, and would again. One line, with the end of Ray's logs below it."""


def stopped(error: "CannotGoOn | OSError") -> str:
    """What is said of a run that was stopped: the error with its remedy, below it what Ray's logs say."""
    said, *more = str(error).splitlines() or [type(error).__name__]
    return "\n".join([f"error: {said}; what was saved stays, and the same command goes on from there", *more])


def require(condition: bool, message: str) -> None:
    """Raise ConfigError with the message unless the condition holds, as all functions here do."""
    if not condition:
        raise ConfigError(message)


def require_effect(overrides: list[str], sections: Collection[str], why: str, remedy: str = "leave it out") -> None:
    """Every override is of one of `sections`: those of others would be without effect, and `why` says the reason."""
    for override in overrides:
        used = any(is_of_section(override, section) for section in sections)
        require(used, f"{override} has no effect{why}; {remedy}")


def require_choice(key: str, value: str, choices: Collection[str]) -> None:
    """`value` is one of `choices`."""
    if value in choices:
        return
    meant = synonyms.of_choice(key, str(value))  # a record or a Python caller may give what is no string
    also = f"; did you mean {meant}?" if meant else ""
    raise ConfigError(f"{key} is {value!r}; choose one of {', '.join(choices)}{also}")


def require_address(key: str, url: str) -> None:
    """`url`, if it is one of HTTP, has a host, and no port or a number."""
    if url.partition("://")[0] not in ("http", "https"):
        return
    try:
        parts = urlsplit(url)
        is_whole = bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_whole = False
    require(
        is_whole, f"{key} is {url!r}, which has no host, or a port that is not one of 1-65535; give http://HOST:PORT"
    )


def require_range(key: str, value: list[float], low: float, high: float) -> None:
    """`value` is [smallest, largest] within [low, high]."""
    ok = len(value) == 2 and low <= value[0] <= value[1] <= high
    require(ok, f"{key} is {value}; give [smallest, largest] with {low:g} <= smallest <= largest <= {high:g}")


def require_at_least(key: str, value: float, limit: float) -> None:
    """`value` is `limit` or more; NaN is not."""
    require(value >= limit, f"{key} is {value}; give at least {limit:g}")


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(type(each) in (int, float) for each in value)


def require_image_sizes(key: str, sizes: list[Any]) -> None:
    """`sizes` are [share of the run, pixels], the shares rising from 0. Of `list[list[float]]` OmegaConf would take no
    whole numbers."""
    form = "give [[0,PIXELS],[SHARE,PIXELS],...] with shares that rise from 0 and stay below 1"
    require(all(_is_pair(each) for each in sizes), f"{key} is {sizes}; {form}")
    shares = [share for share, _ in sizes]
    require(not shares or shares[0] == 0, f"{key} begins at {shares[:1]} of the run; {form}")
    rising = all(before < share < 1 for before, share in itertools.pairwise(shares))
    require(rising, f"{key} has the shares {shares}; {form}")
    for _, size in sizes:
        require(size == int(size) and 32 <= size <= 65535, f"{key} has {size:g} pixels; give a whole number from 32 on")
    for (_, before), (share, size) in itertools.pairwise(sizes):
        require(before != size, f"{key} has {size:g} pixels from {share:g} on and before it; leave one of them out")


VIEW_COUNTS = (1, 10, 12, 144)  # crops of an image: see `platform/evaluation/views.py`
EVALUATED_SPLITS = ("val", "test")


def require_views(key: str, views: int | None) -> None:
    """`views` is a number of crops that there is, or None."""
    require(views is None or views in VIEW_COUNTS, f"{key} is {views}; give {', '.join(map(str, VIEW_COUNTS))} or null")


def require_seed(key: str, value: int) -> None:
    """`value` fits into 64 bits: PyTorch refuses more, and the order of the samples would ignore the rest."""
    require(-(2**63) <= value < 2**64, f"{key} is {value}; give a whole number from {-(2**63)} to {2**64 - 1}")


LARGEST_WHOLE = 2**53  # which floats and JSON hold exactly; NumPy, PyTorch and SQL end at 2**63
LARGEST = 1e38  # PyTorch computes in float32, which ends at 3.4e38
LONGEST_S = 1e9  # some 30 years; threads cannot wait for much longer
SECONDS = {"s": 1, "h": 3600, "days": 86400}  # of what the names of settings end in
CHECKED_ELSEWHERE = ("seed", "order_seed", "sweep.space")


def require_numbers(value: Any, key: str = "") -> None:
    """Every number in a config is finite, and small enough for everything it is handed to."""
    if key in CHECKED_ELSEWHERE or isinstance(value, bool):
        return
    if dataclasses.is_dataclass(value):
        for each in dataclasses.fields(value):
            require_numbers(getattr(value, each.name), f"{key}.{each.name}".lstrip("."))
    elif isinstance(value, list | dict):
        for each in value.values() if isinstance(value, dict) else value:
            require_numbers(each, key)
    elif isinstance(value, int | float):
        limit = LARGEST_WHOLE if isinstance(value, int) else LARGEST
        if unit := SECONDS.get(key.rpartition("_")[2]):
            limit = LONGEST_S / unit
        require(abs(value) <= limit, f"{key} is {value}; give a number of at most {limit:.10g}")


NAME_BYTES = 150  # of a name that becomes a folder; with what is added to it below the 255 of file systems


def require_name(key: str, name: str) -> None:
    """`name` can be the name of a folder."""
    plain = name.replace("-", "").replace("_", "").replace(".", "").isalnum() and name[0] != "."
    require(plain, f"{key} is {name!r}; use letters, digits, '-', '_' and '.' (it names a folder)")
    size = len(name.encode())
    require(size <= NAME_BYTES, f"{key} is {name[:20]}..., of {size} bytes; give at most {NAME_BYTES}")


def seal(section: Any, name: str) -> None:
    """Take the passwords and tokens out of a section's addresses (see `platform/redaction.py`).

    Every config goes through here, so that none can be written with one.
    """
    for each in dataclasses.fields(section):
        value = getattr(section, each.name)
        if isinstance(value, str | list | dict):
            try:
                setattr(section, each.name, sealed_deeply(value))
                if isinstance(value, str):
                    unsealed(value)
            except ValueError as error:
                raise ConfigError(f"{name}{each.name}: {error}") from None


def is_range(value: Any) -> bool:
    """Whether it is a range of whole numbers, as `{min: 1, max: 4}`."""
    return isinstance(value, dict) and value.keys() == {"min", "max"} and all(map(is_whole, value.values()))


def is_whole(value: Any) -> bool:
    """Whether it is a whole number; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)
