"""Errors of composing as one line with the value and the remedy, whoever raised them.

In: an exception of ours, Hydra's or OmegaConf's. Out: text for people.
"""

import re
from collections.abc import Iterable

from hydra.errors import OverrideParseException
from omegaconf.errors import MissingMandatoryValue

from platform.checkout import ROOT
from platform.compose.quoting import in_quotes
from platform.config import synonyms
from platform.config.checks import ConfigError
from platform.config.models import LIBRARIES, MODELS, family
from platform.config.settings import is_string, lists, sections, unknown_key
from platform.overrides import key_of
from platform.redaction import redacted
from platform.text import first_line, printable

KINDS = {"Float": "a number", "Integer": "an integer", "bool": "true or false"}  # OmegaConf's words, and ours
UNQUOTED = re.compile(r"[A-Za-z0-9_/\\+.$%*@?|:\t -]")  # what Hydra takes without quotes


def message_of(error: BaseException) -> str:
    """An error of the config as one line with the value and the remedy, whoever raised it."""
    return printable(redacted(_message_of(error)))


def _message_of(error: BaseException) -> str:
    text = str(error)
    cause = error.__cause__ or error.__context__
    if isinstance(error, ConfigError):
        return text
    if isinstance(cause, ConfigError):
        return str(cause)
    if isinstance(error, OverrideParseException):
        return explained(error)
    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key} is ???, Hydra's word for a value that is missing; give one"
    if match := re.match(r"Ambiguous value for argument '(.*)'", text):
        return explained_ambiguity(match[1])
    if match := re.match(r"Could not override '([\w./@]+)'\. No match in the defaults list", text):
        return f"{match[1]} is not chosen yet; write +{match[1]}=NAME"
    if match := re.match(r"Could not override '([\w.]+)'", text):
        return unknown_key(match[1])
    if match := re.search(r"Could not find '([\w/]+)/([^/']+)'", text):
        return _no_such_choice(match[1], match[2])
    if match := re.match(r"Error merging override \+*([^=]+)=(.*)", text):
        if keys := sections().get(match[1]):
            return f"{match[1]} is {match[2]!r}, and a section of settings; give one of {_listed(match[1], keys)}"
        reason = first_line(cause) if cause else "it is of the wrong type"
        if kind := re.search(r"(?:could not be converted to|is not a valid) (Float|Integer|bool)\b", reason):
            return f"{match[1]} is {match[2]!r}; give {KINDS[kind[1]]}"
        return f"{match[1]} is {match[2]!r}: {reason}; --cfg job shows its kind"
    return "; ".join(line.strip() for line in text.splitlines()[:3] if line.strip())


def explained(error: OverrideParseException) -> str:
    """What Hydra could not read, in a line: the character, and how to write it."""
    key, found, value = error.override.partition("=")
    if not found:
        return f"{key} has no value; write {key}=VALUE"
    if unprintable := [each for each in value if not each.isprintable()]:
        return f"{key} has the character {unprintable[0]!r}, which no value needs; leave it out"
    refused = next((each for each in value if not UNQUOTED.match(each)), "")
    quoted = in_quotes(key, value)
    is_text = is_string(key_of(key))
    if (value[:1] in ("[", "{", "(") and not is_text) or not refused or not quoted:
        reason = str(error).splitlines()[0].removeprefix("LexerNoViableAltException: ")
        return f"{key} is {value}: {reason}; quote values that hold = , : [ or {{, e.g. \"KEY=['a=1']\""
    if not is_text:
        return f"{key} is {value}, where no {refused!r} can be; --cfg job shows its kind"
    return f"{key} is {value}, where {refused!r} needs quotes; write {quoted}"


def explained_ambiguity(override: str) -> str:
    """The same of commas."""
    key, _, value = override.partition("=")
    value = re.sub(r"'([^',\\]*)'", r"\1", value)  # which got its quotes here
    if is_string(key_of(key)):
        meant = f"write {in_quotes(key, value)}"
    else:
        meant = f"write {key}=[{value}]" if key_of(key) in lists() else "give one of them"
    return f"{key} is {value}, where ',' parts several values for --multirun; add that, or {meant}"


def _listed(section: str, keys: list[str]) -> str:
    more = f", or of {len(keys) - 6} more: see --cfg job" if len(keys) > 6 else ""
    return ", ".join(f"{section}.{key}" for key in keys[:6]) + more


def _no_such_choice(group: str, name: str) -> str:
    """The message for a choice without a file; `model=torchvision/resnet18` asks for one of the group model."""
    while "/" in group and not (ROOT / "conf" / group).is_dir():
        group, _, below = group.rpartition("/")
        name = f"{below}/{name}"
    said = f"{group}={name} does not exist; choose one of {', '.join(_choices(group))}"
    if group == "model":
        given = name if family(name) in MODELS else LIBRARIES.format(name)
        return f"{said}, or give model.name={given}"
    meant = synonyms.of_choice(group, name)
    return f"{said}; did you mean {meant}?" if meant else said


def _choices(group: str) -> Iterable[str]:
    return sorted(file.stem for file in (ROOT / "conf" / group).glob("*.yaml"))
