"""Checks of a sweep before anything starts: its keys, its scheduler, and that every point composes and fits.

In: an experiment with `sweep.space`, its parameters, its plan without a sweep. Out: ConfigError with the value, the
limit and the remedy, or nothing.
"""

import itertools
from collections.abc import Iterable
from dataclasses import fields, is_dataclass, replace
from typing import Any

from platform.checkout import ROOT
from platform.cluster.resources import cpus_here
from platform.config import models, optim
from platform.config.checks import ConfigError, require
from platform.config.jobs import SweepConfig
from platform.config.models import ModelConfig
from platform.config.optim import OptimConfig
from platform.config.sections import Config
from platform.config.settings import unknown_key
from platform.data.index import Index
from platform.experiment.plan import Plan, plan_member
from platform.overrides import key_of
from platform.sweep.search import random_points
from platform.sweep.space import Parameter, grid, overrides
from platform.sweep.trial_config import composed
from platform.sweep.trial_store import Point

# Keys of the sweep as a whole, and keys whose values would make trials incomparable.
NOT_SWEPT = ("job", "name", "seed", "order_seed", "output_dir", "fresh", "storage", "pack", "tracking", "ensemble")
NOT_SWEPT += ("distill", "bench", "chaos", "sweep", "promote", "predict", "serve", "evaluation", "checkpoint", "data")
NOT_SWEPT += ("cluster.address", "cluster.lanes", "cluster.fuse", "cluster.dashboard", "cluster.ship_code")
NOT_SWEPT += ("experiment", "hydra")
READ_BEFORE = ("model.init", "model.init_digest")  # by the launcher, once
# Of `data`: the images that are evaluated stay the same ones.
COMPARABLE = ("data.image_size", "data.mirror", "data.min_crop_area", "data.balance")
MAX_COMPOSED = 40  # choices of one key; of a key with more only the first and the last are composed
MAX_CHECKED = 10_000  # points


def refuse_without_effect(overrides: list[str], space: list[Parameter]) -> None:
    """Refuse overrides of keys that every trial sets itself.

    Raises:
        ConfigError: names the first of them.
    """
    swept = {parameter.key for parameter in space if not parameter.when}
    for override in overrides:
        key = key_of(override)
        require(
            key not in swept,
            f"{override} has no effect: every trial sets {key}; leave it out, or take {key} out of sweep.space",
        )


def is_group(key: str) -> bool:
    """Whether a swept key is a config group, whose values are the files in `conf/KEY/`."""
    return (ROOT / "conf" / key).is_dir()


def check_keys(space: list[Parameter]) -> None:
    """Refuse keys that cannot be swept, and choices that a config group does not have.

    Raises:
        ConfigError: names the first of them.
    """
    for parameter in space:
        key = parameter.key
        own = any(key == each or key.startswith(f"{each}.") for each in NOT_SWEPT) and key not in COMPARABLE
        own = (
            own
            or key in READ_BEFORE
            or key.startswith("hydra/")
            or any(each.startswith(f"{key}.") for each in NOT_SWEPT)
        )
        require(not own, f"sweep.space.{key} cannot be swept: {_why(key)}")
        found = getattr(Config(), key, None) if "/" not in key and not is_group(key) else None
        require(
            not is_dataclass(found),
            f"sweep.space.{key} is a section; sweep keys in it, such as {key}.{_first_field(found)}",
        )
        files = sorted(path.stem for path in (ROOT / "conf" / key).glob("*.yaml"))
        of = ", ".join(files)
        require(
            not files or bool(parameter.choices),
            f"sweep.space.{key} is a config group, which has no range; choose among {of}",
        )
        unknown = [value for value in parameter.choices if files and value not in files]
        require(not unknown, f"sweep.space.{key} has {unknown}; choose among {of}")


def _first_field(section: Any) -> str:
    return fields(section)[0].name if is_dataclass(section) else ""


def _why(key: str) -> str:
    if key in ("seed", "order_seed"):
        return "sweep.seeds says with how many seeds each point is trained"
    return "it is the whole sweep's, or trials would not be comparable"


def check_scheduler(config: Config, space: list[Parameter]) -> None:
    """Refuse what the sweep's scheduler cannot work with.

    Raises:
        ConfigError: names the first reason.
    """
    sweep, epochs = config.sweep, config.training.epochs
    if sweep.scheduler == "none":
        return
    patience = config.training.patience_epochs
    require(
        patience == 0,
        f"training.patience_epochs is {patience:g}, and sweep.scheduler={sweep.scheduler} ends trials early, too, by "
        "comparing what is equally long; leave one out",
    )
    looks = f"sweep.scheduler={sweep.scheduler} looks at trials"
    require(config.evaluation.every_epochs == 1, f"{looks} after every epoch; give evaluation.every_epochs=1")
    require(
        sweep.grace_epochs < epochs,
        f"{looks} from epoch sweep.grace_epochs={sweep.grace_epochs} on, but training.epochs is {epochs:g}; "
        "lower the one or raise the other",
    )
    swept = [parameter.key for parameter in space if parameter.key == "training.epochs"]
    require(not swept, f"{looks} of the same length; leave training.epochs out of sweep.space")
    if sweep.scheduler in ("hyperband", "pbt"):
        require(
            config.cluster.lanes == 0,
            f"cluster.lanes is {config.cluster.lanes}; sweep.scheduler={sweep.scheduler} has trials take turns on all "
            "there is; leave it out",
        )
    if sweep.scheduler == "hyperband":
        choices = [choice for each in space if each.key == "cluster.workers" for choice in each.choices]
        require(
            all(each == 1 for each in choices or [config.cluster.workers]),
            "sweep.scheduler=hyperband pauses trials, which those of several workers cannot bear side by side; "
            "give sweep.scheduler=asha, which does not pause",
        )
    if sweep.scheduler == "pbt":
        require(sweep.seeds == 1, f"sweep.seeds is {sweep.seeds}; sweep.scheduler=pbt has none: its trials mix")
        require(sweep.search != "tpe", "sweep.scheduler=pbt needs sweep.search=grid or random: it searches by itself")
        other = [key for key in sweep.mutations if not key.startswith("optim.")]
        require(not other, f"sweep.mutate has {other}; of a training under way only optim.* can be changed")
        for key in sweep.mutations:
            value = getattr(config.optim, key.removeprefix("optim."), None)
            require(value is not None, f"sweep.mutate: {unknown_key(key)}")
            require(not isinstance(value, bool), f"sweep.mutate has {key}, which is {value}; give keys of numbers")


class PointChecks:
    """Composes every choice and the ends of every range, then checks the points that are known before the start."""

    def __init__(self, space: list[Parameter], base: Plan, index: Index | None) -> None:
        self._space, self._base, self._index = space, base, index
        self._config = base.experiment.config
        self._groups: dict[str, list[tuple[Any, dict[str, dict[str, Any]]]]] = {}  # group -> choices, what each changes
        self._fitting: set[str] = set()  # configs that were found to fit, by what `_fits` looks at
        self.tried: dict[str, list[Config]] = {}  # swept key -> the experiment's config with each of its choices

    def run(self) -> None:
        """Check them all.

        Raises:
            ConfigError: names the first point that cannot be trained, and why.
        """
        for parameter in self._space:
            self._choices(parameter)
        for point in itertools.islice(_known_points(self._config.sweep, self._space), MAX_CHECKED):
            self._point(point)

    def _choices(self, parameter: Parameter) -> None:
        """Compose the choices of a key, each in a point in which the key is used."""
        example, key = _example(self._space, parameter), parameter.key
        found: list[tuple[Any, Config]] = []
        for value in _to_compose(parameter):
            config = self._composed(example | {key: value})
            same = [other for other, known in found if known == config]
            require(
                not same,
                f"sweep.space.{key}: {' and '.join(map(str, [*same, value]))} are the same here; leave one out "
                "(the experiment may set what they differ in)",
            )
            found.append((value, config))
        self.tried[key] = [config for _, config in found]
        if is_group(key):
            before = self._composed(example) if example else self._config
            self._groups[key] = [(value, _changes(before, config)) for value, config in found]

    def _point(self, point: Point) -> None:
        """Check a point. Composing takes 50 ms, so its config is put together from choices that were composed before;
        only where that fails is it composed, for the message."""
        try:
            self._fits(self._assembled(point))
        except (ConfigError, AttributeError, TypeError):
            self._composed(point)

    def _composed(self, point: Point) -> Config:
        config = composed(self._base.experiment, point, 0)
        try:
            self._fits(config)
        except ConfigError as error:
            raise ConfigError(f"sweep.space, at {', '.join(overrides(point))}: {error}") from error
        return config

    def _fits(self, config: Config) -> None:
        cluster = config.cluster
        looked_at = repr((config.model, config.loader, config.training, cluster.workers, cluster.cpus_per_worker))
        if looked_at in self._fitting:
            return
        plan_member("a trial", config, self._base.train_samples, self._index)
        needed, cpus = cluster.min_workers * cluster.cpus_per_worker, cpus_here()
        require(
            cluster.address is not None or needed <= cpus,
            f"cluster.workers x cluster.cpus_per_worker is {needed}, this machine has {cpus} CPUs; "
            "lower them, or use cluster=ray",
        )
        self._fitting.add(looked_at)

    def _assembled(self, point: Point) -> Config:
        changes: dict[str, dict[str, Any]] = {}
        for key, choices in self._groups.items():
            for value, changed in choices:
                if key in point and point[key] == value:
                    for section, values in changed.items():
                        changes.setdefault(section, {}).update(values)
        for key, value in point.items():
            if key not in self._groups:
                section, name = key.split(".", 1)
                changes.setdefault(section, {})[name] = value
        sections = {name: _changed(getattr(self._config, name), values) for name, values in changes.items()}
        return replace(self._config, **sections)


def _known_points(sweep: SweepConfig, space: list[Parameter]) -> Iterable[Point]:
    match sweep.search:
        case "grid":
            return itertools.islice(grid(space), sweep.points)
        case "random":
            return random_points(sweep, space)
        case _:
            return []


def _to_compose(parameter: Parameter) -> list[Any]:
    if not parameter.choices:
        return [int(end) if parameter.integer else end for end in (parameter.low, parameter.high)]
    choices = list(parameter.choices)
    return choices if len(choices) <= MAX_COMPOSED or is_group(parameter.key) else [choices[0], choices[-1]]


def _changes(before: Config, after: Config) -> dict[str, dict[str, Any]]:
    """What differs: section -> field -> value in `after`."""
    found: dict[str, dict[str, Any]] = {}
    for section in fields(before):
        old, new = getattr(before, section.name), getattr(after, section.name)
        if is_dataclass(old) and old != new:
            values = {each.name: getattr(new, each.name) for each in fields(new)}
            other = type(new) is not type(old)  # of another network or optimiser, which has settings of its own
            found[section.name] = {key: value for key, value in values.items() if other or value != getattr(old, key)}
    return found


def _changed(section: Any, values: dict[str, Any]) -> Any:
    if isinstance(section, ModelConfig) and "name" in values:
        section = models.converted(section, values["name"])
    if isinstance(section, OptimConfig) and "name" in values:
        section = optim.converted(section, values["name"])
    return replace(section, **values)


def _example(space: list[Parameter], used: Parameter) -> Point:
    """A point of the fewest other keys that has this one used."""
    known = {parameter.key: parameter for parameter in space}
    point: Point = {}
    for key, values in used.when.items():
        point |= _example(space, known[key]) | {key: values[0]}
    return point
