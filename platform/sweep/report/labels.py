"""How a point's name, keys and values are written for people.

In: values of any kind, from the user's space. Out: short text of one line without control characters. It is not
escaped: whoever writes HTML or Markdown does that.
"""

import json
from collections.abc import Iterable
from typing import Any

from platform.sweep.trial_store import Point
from platform.text import printable

ABSENT = "-"  # a key whose condition does not hold at this point
VALUE_LENGTH = 30  # in a list of values, so that none hides the others


def point_name(point: int) -> str:
    return f"p{point:03d}"


def shortened(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def value_text(value: Any) -> str:
    """As on the command line, numbers to four digits."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(value_text(each) for each in value)}]"
    return printable(str(value))


def headings(keys: Iterable[str]) -> dict[str, str]:
    """Each key's last part, `lr` for `optim.lr`; the whole key where two would read the same."""
    short = {key: key.rpartition(".")[2] for key in keys}
    written = list(short.values())
    return {key: printable(last if written.count(last) == 1 else key) for key, last in short.items()}


def point_label(values: Point, names: dict[str, str] | None = None) -> str:
    """`optim.lr=0.02, sampling=multi_scale`; with `names` from `headings` the short keys."""
    texts = {key: shortened(value_text(value), VALUE_LENGTH) for key, value in values.items()}
    return ", ".join(f"{names[key] if names else printable(key)}={text}" for key, text in texts.items())
