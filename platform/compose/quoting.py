"""Strings of a command line stay as they were typed, and how a shell is told of any.

In: overrides as people write them. Out: the same so quoted that Hydra takes them at their word.
"""

import contextlib
import re
import shlex
from collections.abc import Iterator

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.overrides_visitor import HydraErrorListener
from hydra.errors import HydraException
from hydra.grammar.gen.OverrideLexer import InputStream, OverrideLexer

from platform.config.settings import is_string
from platform.overrides import key_of, quoted

NO_STRINGS = (OverrideLexer.INT, OverrideLexer.FLOAT, OverrideLexer.BOOL)
NESTED = (OverrideLexer.POPEN, OverrideLexer.BRACKET_OPEN, OverrideLexer.BRACE_OPEN)
PLAIN = (*NO_STRINGS, OverrideLexer.ID, OverrideLexer.NULL, OverrideLexer.UNQUOTED_CHAR, OverrideLexer.COLON)

MAPPINGS = ("model.settings.", "data.also.")  # of which Hydra knows no entries beforehand


def as_typed(override: str) -> str:
    """An override whose setting is a string, so quoted that Hydra neither reads a number or a list out of it
    (`name=1.10` is not 1.1, `name=2024_11_28` not 20241128) nor stumbles over a `~`. Any other word as it is, but for
    entries of `model.settings` and `data.also`, which Hydra wants to be told to add."""
    key, found, value = override.partition("=")
    if found and f"{key}.".startswith(MAPPINGS):
        key = f"++{key}"
        override = f"{key}={value}"
    if not found or not is_string(key_of(override)):
        return override
    if value[:1] in ("[", "{"):
        return _as_string(key, value) or override
    try:
        return f"{key}={''.join(_quoted_elements(value))}"
    except HydraException:  # says so when it reads the whole
        return override


def _quoted_elements(value: str) -> Iterator[str]:
    """A value, or several with commas between them (of `--multirun`), of which some get quotes."""
    lexer = OverrideLexer(InputStream(value.replace("~", "%")))  # a letter that it knows
    lexer.removeErrorListeners()
    lexer.addErrorListener(HydraErrorListener())
    lexer.mode(OverrideLexer.VALUE_MODE)
    kinds: list[int] = []
    start = 0
    tokens = [*lexer.getAllTokens(), None]
    if any(token and token.type in NESTED for token in tokens):
        yield value
        return
    for token in tokens:
        if token and token.type != OverrideLexer.COMMA:
            kinds.append(token.type)
            continue
        end = token.start if token else len(value)
        yield _quoted_element(value[start:end], kinds)
        if token:
            yield value[token.start : token.stop + 1]
            start, kinds = token.stop + 1, []


def _quoted_element(text: str, kinds: list[int]) -> str:
    kinds = [kind for kind in kinds if kind != OverrideLexer.WS]
    number = len(kinds) == 1 and kinds[0] in NO_STRINGS
    home = "~" in text and all(kind in PLAIN for kind in kinds)
    return f"'{text.strip()}'" if number or home else text


def has_several_values(override: str) -> bool:
    """Whether it is one that `--multirun` takes apart, such as `optim.lr=0.1,0.2`; an option of Hydra is none."""
    if override.startswith("-"):
        return False
    try:
        return OverridesParser.create().parse_override(override).is_sweep_override()
    except HydraException:
        return False


def in_quotes(key: str, value: str) -> str:
    """How a shell is told that a setting is just this string; "" if it cannot be."""
    word = _as_string(key, value)
    meaning = set(word) & set("!$`")  # something inside of double quotes, too
    return (shlex.quote(word) if meaning else '"' + re.sub(r'([\\"])', r"\\\1", word) + '"') if word else ""


def _as_string(key: str, value: str) -> str:
    """The override of which Hydra takes just this string; "" if there is none."""
    for quote in "'\"":
        word = f"{key}={quoted(value, quote)}"
        with contextlib.suppress(HydraException):
            if OverridesParser.create().parse_override(word).value() == value:
                return word
    return ""
