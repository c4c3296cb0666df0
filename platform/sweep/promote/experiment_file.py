"""Trials of a sweep as an experiment file that composes to exactly what they trained.

In: a sweep's trial store, the trials, comments for the file's head. Out: the text of `conf/experiment/NAME.yaml`,
which was composed as the launcher composes it, and compared with what the trials trained.
"""

import json
import tempfile
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

from platform.checkout import ROOT
from platform.config.checks import ConfigError, require
from platform.config.experiment import SINGLE, Composer
from platform.config.identity import NOT_IDENTITY, as_before, differences, flatten, identity
from platform.overrides import join, key_of, override, value_of
from platform.sweep.promote.yaml_text import yaml_lines, yaml_value
from platform.sweep.trial_store import Trial, TrialStore
from platform.text import printable

Settings = dict[str, Any]  # dotted key -> value

LEFT_OUT = {"name", *NOT_IDENTITY} - {"evaluation"}  # where and how the sweep ran, which is no part of what it trained
SHARED = ("data", "loader", "evaluation")  # sections that are the same for all members of an ensemble
SHOWN = 5  # differences in a message
_ABSENT = object()


@dataclass
class Sweep:
    """The sweep that points are promoted from."""

    store: TrialStore
    configs: dict[str, dict[str, Any]] = field(default_factory=dict)  # trial -> its recorded config


def experiment_text(name: str, sweep: Sweep, trials: list[Trial], comments: list[str], composer: Composer) -> str:
    """One trial as an experiment of one training; more as an ensemble of members that repeat their seeds.

    The file says no more than it must: choices of groups that are not the default, the settings that differ from these,
    and of each member its trial's own overrides.

    Raises:
        ConfigError: the trials cannot be one experiment, or it would not be what they trained; names the differences.
        NotComposed: the trials have keys, choices or kinds of values that this version does not have.
    """
    made = _Composed(composer)
    base = made.base(sweep.store)
    own = {trial.name: made.own(base, trial, sweep) for trial in trials}
    trained = {trial.name: made.trained(join(base, own[trial.name]), trial, sweep) for trial in trials}
    if len(trials) == 1:
        lines = made.file(name, "train", join(base, own[trials[0].name]))
        trained = {SINGLE: trained[trials[0].name]}
    else:
        _require_distinct(trained)
        made.require_shared(base, own)
        lines = made.file(name, "ensemble", base) + _members(own)
    head = [f"# {printable(comment)}".rstrip() for comment in ["@package _global_", *comments]]
    text = "\n".join([*head, *lines]) + "\n"
    made.require_same(text, trained, sweep.store.commit)
    return text


class _Composed:
    """Composes overrides and compares the configs with what trials trained."""

    def __init__(self, composer: Composer) -> None:
        self._composer, self._usual = composer, composer.usual_choices()

    def base(self, store: TrialStore) -> list[str]:
        """Overrides that make the experiment of the sweep: config groups first, then what differs from them.

        Raises:
            ConfigError: they do not make the same experiment.
        """
        chosen = {group: store.choices.get(group, self._usual[group]) for group in self._usual if group not in LEFT_OUT}
        groups = [f"{group}={choice}" for group, choice in chosen.items() if choice != self._usual[group]]
        overrides = groups + _differing(_kept(store.base), self._settings(groups))
        _require_equal("the sweep's base", _kept(store.base), self._settings(overrides), store.commit)
        return overrides

    def own(self, base: list[str], trial: Trial, sweep: Sweep) -> list[str]:
        """The overrides of a trial: its own, with the last values that PBT gave it, and what else it trained with."""
        own = join(trial.overrides, [override(key, value) for key, value in _changed(trial).items()])
        if trial.name not in sweep.configs:
            return own
        made = join(base, own)
        return join(own, _differing(self.trained(made, trial, sweep), self._identity(made)))

    def trained(self, overrides: list[str], trial: Trial, sweep: Sweep) -> Settings:
        """The trial's identity: from the config that the sweep recorded, else from its overrides."""
        if trial.name not in sweep.configs:
            return self._identity(overrides)
        return _without_name(identity(sweep.configs[trial.name])) | _changed(trial)

    def file(self, name: str, job: str, overrides: list[str]) -> list[str]:
        """The overrides as lines of an experiment file. Settings win over groups, as on a command line."""
        groups = {key_of(each): value_of(each) for each in overrides if key_of(each) in self._usual}
        choices = {f"override /{group}": choice for group, choice in groups.items()} | {"override /ensemble": "none"}
        wanted = self._settings(overrides)
        found = self._settings([f"{group}={choice}" for group, choice in groups.items()])
        settings = {key: value for key, value in wanted.items() if found.get(key, _ABSENT) != value}
        return [
            "defaults:",
            *(f"  - {group}: {choice}" for group, choice in choices.items()),
            "",
            f"name: {name}-${{data.name}}",
            f"job: {job}",
            *yaml_lines(settings),
        ]

    def require_shared(self, base: list[str], own: dict[str, list[str]]) -> None:
        """Refuse trials that change what the members of an ensemble share.

        Raises:
            ConfigError: names the trial and the keys.
        """
        common = self._settings(base)
        for name, overrides in own.items():
            changed = _differing(self._settings(join(base, overrides)), common)
            odd = [each for each in changed if each.partition(".")[0] in SHARED]
            require(
                not odd,
                f"{name} changes {', '.join(odd[:SHOWN])}, which the members of an ensemble share; promote it alone "
                "with promote.count=1, or sweep without it",
            )

    def require_same(self, text: str, trained: dict[str, Settings], commit: str) -> None:
        """Compose the file from a temporary folder and compare each member with its trial.

        Raises:
            ConfigError: names what differs.
        """
        with tempfile.TemporaryDirectory(prefix="promoted_") as folder:
            file = Path(folder) / "experiment" / f"{Path(folder).name}.yaml"
            file.parent.mkdir()
            file.write_text(text)
            overrides = [override("hydra.searchpath", [f"file://{folder}"]), f"+experiment={file.stem}"]
            experiment = self._composer.experiment(overrides)
        for member, settings in trained.items():
            found = _without_name(identity(json.loads(json.dumps(asdict(experiment.members[member])))))
            _require_equal(member, settings, found, commit)

    def _settings(self, overrides: list[str]) -> Settings:
        """The settings of the experiment that overrides make, without those of where it runs."""
        return _kept(self._composer.settings(overrides))

    def _identity(self, overrides: list[str]) -> Settings:
        """The settings that are the identity of the experiment that overrides make."""
        return _without_name(identity(self._composer.settings(overrides)))


def _changed(trial: Trial) -> Settings:
    return {key: value for _epoch, key, value in trial.changes}


def _differing(wanted: Settings, found: Settings) -> list[str]:
    return [override(key, value) for key, value in wanted.items() if found.get(key, _ABSENT) != value]


def _kept(config: dict[str, Any]) -> Settings:
    config = as_before(config)  # the sweep may be older than this version
    flat = {key: value for key, value in flatten(config).items() if key.partition(".")[0] not in LEFT_OUT}
    return flat | {"data.shards": _portable(str(flat.get("data.shards", "")))}


def _without_name(config: dict[str, Any]) -> Settings:
    return {key: value for key, value in flatten(config).items() if key != "name"}


def _portable(path: str) -> str:
    """A path in this checkout as relative to it, as the defaults are; other paths and URLs stay."""
    return str(Path(path).relative_to(ROOT)) if Path(path).is_relative_to(ROOT) else path


def _members(own: dict[str, list[str]]) -> list[str]:
    width = max(len(yaml_value(name)) for name in own) + 1
    members = [f"    {yaml_value(name) + ':':<{width}} {yaml_value(overrides)}" for name, overrides in own.items()]
    return ["ensemble:", "  members:", *members]


def _require_distinct(trained: dict[str, Settings]) -> None:
    for (one, settings), (other, same) in combinations(trained.items(), 2):
        require(settings != same, f"{one} and {other} are the same training; an ensemble needs members that differ")


def _require_equal(what: str, wanted: Settings, found: Settings, commit: str) -> None:
    odd = differences(wanted, found)
    if odd:
        raise ConfigError(
            f"{what} would not be what the sweep ran ({'; '.join(odd[:SHOWN])}); "
            f"promote with the checkout that ran it: commit {commit or 'unknown'}"
        )
