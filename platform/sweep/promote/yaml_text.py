"""Settings as the lines of a YAML file.

In: dotted keys and plain values (numbers, strings, booleans, None, lists of them). Out: text that reads back the same.
"""

import json
from typing import Any

from platform.overrides import is_plain


def yaml_lines(settings: dict[str, Any]) -> list[str]:
    """Dotted settings as lines of YAML, with a section for each part before a dot."""
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
    """A value as YAML on one line; strings that nobody could misread are without quotes."""
    if isinstance(value, list):
        return f"[{', '.join(map(yaml_value, value))}]"
    if isinstance(value, float):
        return repr(value)  # 1e-05 is a number to OmegaConf's YAML, nan and inf to Hydra
    if isinstance(value, str) and is_plain(value):
        return value
    text = json.dumps(value, ensure_ascii=False)  # JSON is YAML but for some characters
    return "".join(letter if letter.isprintable() else json.dumps(letter)[1:-1] for letter in text)
