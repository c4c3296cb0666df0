"""Overrides, KEY=VALUE of a command line: strings stay as they were typed, and an error shows the quoting that works.

In: overrides as people write them. Out: the same so quoted that Hydra takes them at their word.
"""

import contextlib
import dataclasses
import functools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.overrides_visitor import HydraErrorListener
from hydra.errors import HydraException, OverrideParseException
from hydra.grammar.gen.OverrideLexer import InputStream, OverrideLexer

from platform.config.checks import ConfigError
from platform.config.cluster import ClusterConfig
from platform.config.identity import replaced
from platform.config.kubernetes import KubeConfig
from platform.config.sections import Config

# Settings that are paths (or addresses) of the machine that the command runs on.
PATHS = (
    "output_dir",
    "data.shards",
    "data.source",
    "storage.cache",
    "checkpoint.copy_to",
    "cluster.render_to",
    "bench.json",
    "bench.photos",
    "promote.sweep",
    "tracking.uri",
)
# In front of a path, also of sqlite:///~/mlflow.db, file:~/mlruns and torchvision:CIFAR10@~/data.
HOME = re.compile(r"(^|^[\w+]+:///|^(?:file|local):(?://)?|^torchvision:\w+@)(~[^/?]*)")
UNQUOTED = re.compile(r"[A-Za-z0-9_/\\+.$%*@?|:\t -]")  # what Hydra takes without quotes
NO_STRINGS = (OverrideLexer.INT, OverrideLexer.FLOAT, OverrideLexer.BOOL)
NESTED = (OverrideLexer.POPEN, OverrideLexer.BRACKET_OPEN, OverrideLexer.BRACE_OPEN)
PLAIN = (*NO_STRINGS, OverrideLexer.ID, OverrideLexer.NULL, OverrideLexer.UNQUOTED_CHAR, OverrideLexer.COLON)


def as_typed(override: str) -> str:
    """An override whose setting is a string, so quoted that Hydra neither reads a number or a list out of it
    (`name=1.10` is not 1.1, `name=2024_11_28` not 20241128) nor stumbles over a `~`. Any other word as it is."""
    key, found, value = override.partition("=")
    if not found or key.lstrip("+") not in strings():
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


@functools.cache
def strings() -> frozenset[str]:
    """Dotted keys of the settings that are strings."""
    return frozenset(key for key, kind in _settings(Config) if kind in (str, str | None))


@functools.cache
def lists() -> frozenset[str]:
    """Dotted keys of the settings that are lists."""
    return frozenset(key for key, kind in _settings(Config) if list in [get_origin(k) for k in (kind, *get_args(kind))])


def refuse_empty(config: Config) -> None:
    """Refuse strings without a character, as an unset variable of a shell leaves them: no path and no name is empty.

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


def sections() -> dict[str, list[str]]:
    """Of each section of settings, those that are directly in it."""
    found: dict[str, list[str]] = {}
    for key, _ in _settings(Config):
        section, _, name = key.rpartition(".")
        found.setdefault(section, []).append(name)
    return found


def _settings(section: type, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, kind in get_type_hints(section).items():
        inner = [each for each in (kind, *get_args(kind)) if dataclasses.is_dataclass(each)]
        if inner:
            yield from _settings(inner[0], f"{prefix}{name}.")  # pyright: ignore[reportArgumentType]
        else:
            yield f"{prefix}{name}", kind


def at_home(config: Config) -> Config:
    """A config with the home folder in the place of each `~` in front of a path.

    Raises:
        ConfigError: there is no such home folder.
    """
    for key, value in home_paths(config):
        config = replaced(config, key, HOME.sub(functools.partial(_home, key, value), value))
    return config


def home_paths(config: Config) -> Iterator[tuple[str, str]]:
    """(key, value) of the paths below a `~`."""
    for key in PATHS:
        value = functools.reduce(getattr, key.split("."), config)
        if isinstance(value, str) and HOME.match(value):
            yield key, value


def _home(key: str, value: str, found: re.Match[str]) -> str:
    try:
        return found[1] + str(Path(found[2]).expanduser())
    except RuntimeError as error:
        raise ConfigError(f"{key} is {value}, and {found[2]} is no home folder; write the whole path") from error


def explained(error: OverrideParseException) -> str:
    """What Hydra could not read, in a line: the character, and how to write it."""
    key, found, value = error.override.partition("=")
    if not found:
        return f"{key} has no value; write {key}=VALUE"
    if unprintable := [each for each in value if not each.isprintable()]:
        return f"{key} has the character {unprintable[0]!r}, which no value needs; leave it out"
    refused = next((each for each in value if not UNQUOTED.match(each)), "")
    quoted = in_quotes(key, value)
    is_string = key.lstrip("+") in strings()
    if (value[:1] in ("[", "{", "(") and not is_string) or not refused or not quoted:
        reason = str(error).splitlines()[0].removeprefix("LexerNoViableAltException: ")
        return f"{key} is {value}: {reason}; quote values that hold = , : [ or {{, e.g. \"KEY=['a=1']\""
    if not is_string:
        return f"{key} is {value}, where no {refused!r} can be; --cfg job shows its kind"
    return f"{key} is {value}, where {refused!r} needs quotes; write {quoted}"


def explained_ambiguity(override: str) -> str:
    """The same of commas."""
    key, _, value = override.partition("=")
    value = re.sub(r"'([^',\\]*)'", r"\1", value)  # which got its quotes here
    if key.lstrip("+") in strings():
        meant = f"write {in_quotes(key, value)}"
    else:
        meant = f"write {key}=[{value}]" if key.lstrip("+") in lists() else "give one of them"
    return f"{key} is {value}, where ',' parts several values for --multirun; add that, or {meant}"


def in_quotes(key: str, value: str) -> str:
    """How a shell is told that a setting is just this string; "" if it cannot be."""
    word = _as_string(key, value)
    meaning = set(word) & set("!$`")  # something inside of double quotes, too
    return (shlex.quote(word) if meaning else '"' + re.sub(r'([\\"])', r"\\\1", word) + '"') if word else ""


def _as_string(key: str, value: str) -> str:
    """The override of which Hydra takes just this string; "" if there is none."""
    for quote in "'\"":
        word = f"{key}={quote}{_escaped(value, quote)}{quote}"
        with contextlib.suppress(HydraException):
            if OverridesParser.create().parse_override(word).value() == value:
                return word
    return ""


def _escaped(value: str, quote: str) -> str:
    return re.sub(rf"(\\*)({quote}|$)", lambda found: 2 * found[1] + (f"\\{quote}" if found[2] else ""), value)
