"""Settings as text: one `key=value` word of Hydra's command line, and the lines of a YAML file.

In: plain values (numbers, strings, booleans, None, lists of them) and dotted keys. Out: text that reads back the same.
"""

import json
import re
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString

PLAIN = re.compile(r"[A-Za-z_][\w./-]*(=[\w./-]+)?", re.ASCII)  # the same in YAML and JSON, but for these:
NOT_STRINGS = {"true", "false", "yes", "no", "on", "off", "y", "n", "null", "nan", "inf", "infinity"}


def key(word: str) -> str:
    """What a word sets: `optim.lr` of `optim.lr=0.1`."""
    return word.partition("=")[0].lstrip("+")


def join(words: list[str], later: list[str]) -> list[str]:
    """Both; of a key that both set, the later one (Hydra refuses a group chosen twice)."""
    own = {key(each) for each in later}
    return [each for each in words if key(each) not in own] + later


def word(setting: str, value: Any) -> str:
    """A setting as on Hydra's command line (but unquoted for the shell)."""
    return f"{setting}={_hydra_value(value)}"


def _hydra_value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{','.join(map(_hydra_value, value))}]"
    if isinstance(value, str) and (not _is_plain(value) or "=" in value):
        return QuotedString(value, Quote.single).with_quotes()
    return yaml_value(value)


def yaml_lines(settings: dict[str, Any]) -> list[str]:
    """Dotted settings as a block of YAML: a section of its own for each part before a dot."""
    lines, sections = [], dict[str, dict[str, Any]]()
    for setting, value in settings.items():
        section, dot, rest = setting.partition(".")
        if dot:
            sections.setdefault(section, {})[rest] = value
        else:
            lines.append(f"{yaml_value(setting)}: {yaml_value(value)}")
    for section, content in sections.items():
        lines += [f"{yaml_value(section)}:", *(f"  {line}" for line in yaml_lines(content))]
    return lines


def yaml_value(value: Any) -> str:
    """On one line, strings unquoted where that is plain to everybody."""
    if isinstance(value, list):
        return f"[{', '.join(map(yaml_value, value))}]"
    if isinstance(value, float):
        return repr(value)  # 1e-05 is a number to OmegaConf's YAML, nan and inf to Hydra
    if isinstance(value, str) and _is_plain(value):
        return value
    text = json.dumps(value, ensure_ascii=False)  # quoted strings, true, null: JSON is YAML, but for some letters
    return "".join(letter if letter.isprintable() else json.dumps(letter)[1:-1] for letter in text)


def _is_plain(text: str) -> bool:
    return bool(PLAIN.fullmatch(text)) and text.lower() not in NOT_STRINGS
