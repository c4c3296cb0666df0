"""How a point's name, keys and values are shown.

In: values of any kind, from the user's space. Out: short text of one line without control characters. It is not
escaped for HTML or Markdown.
"""

import json
from collections.abc import Iterable
from typing import Any

from platform.sweep.trial_store import Point
from platform.text import printable

ABSENT = "-"  # in the place of the value of a key that the point does not have
VALUE_LENGTH = 30  # characters of a value in a list of values, so that none hides the others


def point_name(point: int) -> str:
    """`p003` for point 3."""
    return f"p{point:03d}"


def shortened(text: str, length: int) -> str:
    """The text cut to `length` characters, the last of them `…` if it was longer."""
    return text if len(text) <= length else text[: length - 1] + "…"


def value_text(value: Any) -> str:
    """A value as on the command line, floats to four digits."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(value_text(each) for each in value)}]"
    return printable(str(value))


def headings(keys: Iterable[str]) -> dict[str, str]:
    """Key -> its last part, `lr` for `optim.lr`; the whole key where two would read the same."""
    short = {key: key.rpartition(".")[2] for key in keys}
    written = list(short.values())
    return {key: printable(last if written.count(last) == 1 else key) for key, last in short.items()}


def point_label(values: Point, names: dict[str, str] | None = None) -> str:
    """A point as `optim.lr=0.02, sampling=multi_scale`; with `names` from `headings` its keys are short."""
    texts = {key: shortened(value_text(value), VALUE_LENGTH) for key, value in values.items()}
    return ", ".join(f"{names[key] if names else printable(key)}={text}" for key, text in texts.items())
