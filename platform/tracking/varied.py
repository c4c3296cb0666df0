"""By what the runs of one experiment differ, as parameters that MLflow's pages find first.

In: an experiment. Out: `changed.KEY` -> value, with the keys as somebody wrote them: what is swept, the overrides of an
ensemble's members, those of a single training's command line. MLflow's pages that compare runs open on the parameters
whose names sort first, and no setting sorts before these.
"""

from collections.abc import Iterable
from dataclasses import is_dataclass
from typing import Any

from platform.config.experiment import Experiment
from platform.config.sections import Config
from platform.overrides import is_of_section, key_of, value_of
from platform.tracking.parameters import RANGES, Parameters, name_of, parameters, ranges_apart

PREFIX = "changed."
RECIPE = (
    "model",
    "loss",
    "optim",
    "sampling",
    "transforms",
    "schedule",
    "training",
    "order_seed",
    "seed",
)  # what one varies by hand
LAST = ("order_seed", "seed")  # say least


def of_point(values: dict[str, Any]) -> Parameters:
    """Of a sweep's trial: its values in the search space."""
    return _ranges_apart({f"{PREFIX}{key}": value for key, value in values.items()})


def once(changed: Parameters, settings: Parameters) -> Parameters:
    """Both, without the settings that stand there as `changed.KEY`: MLflow's contour plot opens on the first two
    numbers, which would be the same."""
    return changed | {key: value for key, value in settings.items() if f"{PREFIX}{key}" not in changed}


def of_member(experiment: Experiment, name: str) -> Parameters:
    """Of an ensemble's member: the value of each key that any of its members overrides; of a single training: the
    settings that its command line overrides."""
    members = experiment.config.ensemble.members
    if not members:
        own = {key_of(each): _value(experiment.config, each) for each in experiment.overrides if _is_of_recipe(each)}
        return _ranges_apart({f"{PREFIX}{key}": value for key, value in own.items()})
    written = {key_of(each): each for each in members.get(name, [])}
    found = {}
    for key in _keys(members.values()):
        config = experiment.members[name]
        value = _value(config, written[key]) if key in written else _shared(experiment, config, key)
        found |= {} if value is None else {f"{PREFIX}{key}": value}
    return _ranges_apart(found)


def columns(experiment: Experiment) -> list[str]:
    """The names of these parameters, the telling ones first."""
    if experiment.config.job == "sweep":
        values = {key: _any_value(space) for key, space in experiment.config.sweep.space.items()}
        return list(of_point(values))
    names = {key: None for name in experiment.members for key in of_member(experiment, name)}
    return sorted(names, key=lambda key: key.removeprefix(PREFIX) in LAST)


def _is_of_recipe(override: str) -> bool:
    return any(is_of_section(override, section) for section in RECIPE)


def _ranges_apart(values: Parameters) -> Parameters:
    named = {name_of(key): value for key, value in values.items()}
    return ranges_apart(named, [f"{PREFIX}{key}" for key in RANGES])


def _keys(members: Iterable[list[str]]) -> list[str]:
    return list({key_of(each): None for overrides in members for each in overrides})


def _shared(experiment: Experiment, config: Config, key: str) -> Any:
    """What a member has that does not override the key; None: nothing that is a parameter."""
    values = parameters(config)
    pair = [values[f"{key}.{end}"] for end in ("min", "max") if f"{key}.{end}" in values]
    return experiment.choices.get(key, values.get(key, pair or None))


def _any_value(space: Any) -> Any:
    """One of those that are swept: whether they are ranges is what counts."""
    choices = space.get("choices") if isinstance(space, dict) else space
    return choices[0] if isinstance(choices, list | tuple) and choices else None


def _value(config: Config, override: str) -> Any:
    """What Hydra has made of an override: of a setting the config's value, of a group the choice as it is written."""
    found: Any = config
    for part in key_of(override).split("."):
        inner = found if isinstance(found, dict) else vars(found) if is_dataclass(found) else {}
        if part not in inner:
            return _unquoted(override)
        found = inner[part]
    return _unquoted(override) if is_dataclass(found) else found


def _unquoted(override: str) -> str:
    return value_of(override).strip("'\"")
