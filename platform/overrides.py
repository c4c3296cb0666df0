"""Overrides, the `KEY=VALUE` of Hydra's command line: taken apart, joined and written.

In: overrides; dotted keys and plain values (numbers, strings, booleans, None, lists and dicts of them). Out: overrides
of which Hydra reads just these values. Text alone: Hydra itself is asked in `platform/compose/`.
"""

import json
import re
from typing import Any

PLAIN = re.compile(r"[A-Za-z_][\w./-]*(=[\w./-]+)?", re.ASCII)  # the same in YAML and JSON, but for these:
NOT_STRINGS = {"true", "false", "yes", "no", "on", "off", "y", "n", "null", "nan", "inf", "infinity"}


def key_of(override: str) -> str:
    """What it sets: `optim.lr` of `optim.lr=0.1`, `+optim.lr=0.1` and `~optim.lr`."""
    return override.partition("=")[0].lstrip("+~")


def value_of(override: str) -> str:
    """As it is written, quotes included."""
    return override.partition("=")[2]


def is_of_section(override: str, section: str) -> bool:
    """Whether it chooses the section's file or sets a key in it."""
    group = key_of(override).partition("@")[0]
    return group == section or group.startswith(f"{section}.")


def join(overrides: list[str], later: list[str]) -> list[str]:
    """Both; of a key that both set, the later one: Hydra refuses a group that is chosen twice."""
    own = {key_of(override) for override in later}
    return [override for override in overrides if key_of(override) not in own] + later


def override(key: str, value: Any) -> str:
    """`KEY=VALUE` of which Hydra reads just this value; not yet quoted for a shell."""
    return f"{key}={_written(value)}"


def quoted(text: str, quote: str = "'") -> str:
    """A string between quotes in Hydra's way: backslashes count only in front of a quote."""
    escaped = re.sub(rf"(\\*)({quote}|\Z)", lambda found: 2 * found[1] + (f"\\{quote}" if found[2] else ""), text)
    return f"{quote}{escaped}{quote}"


def is_plain(text: str) -> bool:
    """Whether a string needs no quotes, neither in YAML nor in an override (there only with a `=` in it)."""
    return bool(PLAIN.fullmatch(text)) and text.lower() not in NOT_STRINGS


def _written(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_written, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{_written(each)}' for key, each in value.items())}}}"
    if isinstance(value, str):
        return value if is_plain(value) and "=" not in value else quoted(value)
    return repr(value) if isinstance(value, float) else json.dumps(value)  # nan and inf are numbers to Hydra
