"""Trials of a sweep as an experiment file that composes to exactly what they trained.

In: the sweep's book, the trials, comments for the file's head. Out: the text of `conf/experiment/NAME.yaml`, composed
as the launcher does it and compared with the trials before anybody gets it.
"""

import json
import tempfile
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import hydra
from omegaconf import OmegaConf

from platform.checkout import ROOT
from platform.config.checks import ConfigError, require
from platform.config.identity import NOT_IDENTITY, differences, flatten, identity
from platform.launch import SINGLE, compose
from platform.redaction import sealed_deeply
from platform.sweep.notation import join, key, word, yaml_lines, yaml_value
from platform.sweep.trials import Book, Trial

Settings = dict[str, Any]  # dotted key -> value

LEFT_OUT = {"name", *NOT_IDENTITY} - {"evaluation"}  # where and how the sweep ran; the next run has its own
SHARED = ("data", "loader", "evaluation")  # sections in which the members of an ensemble are alike
SHOWN = 5  # differences in a message


@dataclass
class Sweep:
    """What is promoted from."""

    book: Book
    configs: dict[str, dict[str, Any]] = field(default_factory=dict)  # trial -> what it trained with, where recorded


def experiment_text(name: str, sweep: Sweep, trials: list[Trial], comments: list[str]) -> str:
    """One trial as an experiment of one training; more as an ensemble of members that repeat their seeds.

    The file says no more than it must: choices of groups that are not the default, the settings that differ from these,
    and of each member its trial's own words.

    Raises:
        ConfigError: the trials cannot be one experiment, or it would not be what they trained; names the differences.
    """
    usual = _usual_choices()
    base = _base_words(sweep.book, usual)
    words = {trial.name: _words(base, trial, sweep) for trial in trials}
    trained = {trial.name: _trained(join(base, words[trial.name]), trial, sweep) for trial in trials}
    if len(trials) == 1:
        lines = _file(name, "train", join(base, words[trials[0].name]), usual)
        trained = {SINGLE: trained[trials[0].name]}
    else:
        _require_distinct(trained)
        _require_shared(base, words)
        lines = _file(name, "ensemble", base, usual) + _members(words)
    head = [f"# {_printable(comment)}".rstrip() for comment in ["@package _global_", *comments]]
    text = "\n".join([*head, *lines]) + "\n"
    _require_same(text, trained, sweep.book.commit)
    return text


def _printable(comment: str) -> str:
    """On one line: what was swept is anybody's text, and YAML ends a comment at more than one kind of line end."""
    return "".join(letter if letter.isprintable() else " " for letter in comment)


def _base_words(book: Book, usual: dict[str, str]) -> list[str]:
    """The sweep's base on a command line: groups first, then the settings that they do not make.

    Raises:
        ConfigError: they do not make all of it.
    """
    chosen = {group: book.choices.get(group, usual[group]) for group in usual if group not in LEFT_OUT}
    groups = [f"{group}={choice}" for group, choice in chosen.items() if choice != usual[group]]
    words = groups + _differing(_kept(book.base), _composed(groups))
    _require_equal("the sweep's base", _kept(book.base), _composed(words), book.commit)
    return words


def _usual_choices() -> dict[str, str]:
    """`conf/config.yaml`'s choice of each group; Hydra's own groups are no part of an experiment."""
    composed = hydra.compose("config", return_hydra_config=True)
    return {group: choice for group, choice in composed.hydra.runtime.choices.items() if "/" not in group}


def _words(base: list[str], trial: Trial, sweep: Sweep) -> list[str]:
    """A trial's words, with what PBT changed at its last value; and whatever they do not say of what it trained."""
    own = join(trial.words, [word(setting, value) for setting, value in _changed(trial).items()])
    if trial.name not in sweep.configs:
        return own
    made = join(base, own)
    return join(own, _differing(_trained(made, trial, sweep), _identity(made)))


def _trained(words: list[str], trial: Trial, sweep: Sweep) -> Settings:
    """What makes the trial what it is: as the sweep recorded it, else as its words say."""
    if trial.name not in sweep.configs:
        return _identity(words)
    return _without_name(identity(sweep.configs[trial.name])) | _changed(trial)


def _changed(trial: Trial) -> Settings:
    return {setting: value for _epoch, setting, value in trial.changes}


def _differing(wanted: Settings, found: Settings) -> list[str]:
    return [word(setting, value) for setting, value in wanted.items() if found.get(setting, _ABSENT) != value]


_ABSENT = object()


def _composed(words: list[str]) -> Settings:
    """The settings of an experiment, as Hydra makes them out of a command line."""
    return _kept(_nested(words))


def _identity(words: list[str]) -> Settings:
    """Those that make it what it is."""
    return _without_name(identity(_nested(words)))


def _nested(words: list[str]) -> dict[str, Any]:
    container = OmegaConf.to_container(hydra.compose("config", words), resolve=True)
    assert isinstance(container, dict)
    return sealed_deeply({str(section): content for section, content in container.items()})


def _kept(config: dict[str, Any]) -> Settings:
    flat = {each: value for each, value in flatten(config).items() if each.partition(".")[0] not in LEFT_OUT}
    return flat | {"data.shards": _portable(str(flat.get("data.shards", "")))}


def _without_name(config: dict[str, Any]) -> Settings:
    return {each: value for each, value in flatten(config).items() if each != "name"}


def _portable(path: str) -> str:
    """Relative, as the defaults are, if it lies in this checkout; another place or URL stays."""
    return str(Path(path).relative_to(ROOT)) if Path(path).is_relative_to(ROOT) else path


def _file(name: str, job: str, words: list[str], usual: dict[str, str]) -> list[str]:
    """The lines that say the same as the words. Settings win over the groups, as they do on a command line."""
    groups = {key(each): each.partition("=")[2] for each in words if key(each) in usual}
    choices = {f"override /{group}": choice for group, choice in groups.items()} | {"override /ensemble": "none"}
    wanted, found = _composed(words), _composed([f"{group}={choice}" for group, choice in groups.items()])
    settings = {each: value for each, value in wanted.items() if found.get(each, _ABSENT) != value}
    return [
        "defaults:",
        *(f"  - {group}: {choice}" for group, choice in choices.items()),
        "",
        f"name: {name}-${{data.name}}",
        f"job: {job}",
        *yaml_lines(settings),
    ]


def _members(words: dict[str, list[str]]) -> list[str]:
    width = max(len(yaml_value(name)) for name in words) + 1
    members = [f"    {yaml_value(name) + ':':<{width}} {yaml_value(own)}" for name, own in words.items()]
    return ["ensemble:", "  members:", *members]


def _require_distinct(trained: dict[str, Settings]) -> None:
    for (one, settings), (other, same) in combinations(trained.items(), 2):
        require(settings != same, f"{one} and {other} are the same training; an ensemble needs members that differ")


def _require_shared(base: list[str], words: dict[str, list[str]]) -> None:
    common = _composed(base)
    for name, own in words.items():
        changed = _differing(_composed(join(base, own)), common)
        odd = [each for each in changed if each.partition(".")[0] in SHARED]
        require(
            not odd,
            f"{name} changes {', '.join(odd[:SHOWN])}, which the members of an ensemble share; promote it alone with "
            "promote.count=1, or sweep without it",
        )


def _require_same(text: str, trained: dict[str, Settings], commit: str) -> None:
    """Compose the file, from a folder that nobody else looks into, and compare each member with its trial."""
    with tempfile.TemporaryDirectory(prefix="promoted_") as folder:
        file = Path(folder) / "experiment" / f"{Path(folder).name}.yaml"
        file.parent.mkdir()
        file.write_text(text)
        words = [word("hydra.searchpath", [f"file://{folder}"]), f"+experiment={file.stem}"]
        composed = compose(hydra.compose("config", words), words)
    for member, settings in trained.items():
        found = _without_name(identity(json.loads(json.dumps(asdict(composed.members[member])))))
        _require_equal(member, settings, found, commit)


def _require_equal(what: str, wanted: Settings, found: Settings, commit: str) -> None:
    odd = differences(wanted, found)
    if odd:
        raise ConfigError(
            f"{what} would not be what the sweep ran ({'; '.join(odd[:SHOWN])}); "
            f"promote with the checkout that ran it: commit {commit or 'unknown'}"
        )
