"""What a sweep will do, worked out and checked before anything starts.

In: an experiment with `sweep.space`. Out: the space, the search, how many trials, how many side by side.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from platform.config import Config, ConfigError, Experiment, SweepConfig, require
from platform.data.index import Index
from platform.launch import ROOT, one_line
from platform.plan import Plan, open_data, plan, plan_member
from platform.sweep.search import Search, search_of
from platform.sweep.space import Parameter, grid_size, parameters, words
from platform.sweep.trials import Point

# What is the sweep's, or would make trials incomparable.
NOT_SWEPT = ("job", "name", "seed", "order_seed", "output_dir", "fresh", "storage", "pack", "tracking", "ensemble")
NOT_SWEPT += ("bench", "chaos", "sweep", "promote", "evaluation", "checkpoint", "cluster.address", "data")
COMPARABLE = ("data.image_size", "data.mirror", "data.min_crop_area")  # of the data: not which they are
Compose = Callable[[list[str]], Config]  # overrides beside those of the experiment -> config


@dataclass(frozen=True)
class SweepPlan:
    """The whole sweep."""

    base: Plan
    space: list[Parameter]
    points: int
    trials: int
    side_by_side: int | None  # None: the cluster's size is not known yet


def plan_sweep(experiment: Experiment, compose: Compose) -> SweepPlan:
    """Check everything that can be checked without Ray.

    Raises:
        ConfigError: with the value, the limit and the remedy.
    """
    config, sweep = experiment.config, experiment.config.sweep
    require(
        not config.ensemble.members,
        "a sweep trains single models, but ensemble.members has some; give ensemble=none (job=promote makes ensembles)",
    )
    space = parameters(sweep.space)
    _check_keys(space)
    points = grid_size(space) if sweep.search == "grid" else sweep.points or 0
    points = min(points, sweep.points or points)
    trials = points + (sweep.seeds - 1) * min(points, sweep.finalists or points)
    require(
        trials <= sweep.max_trials,
        f"the sweep has {trials} trials ({points} points, {sweep.seeds} seeds), more than sweep.max_trials "
        f"({sweep.max_trials}); raise it, shrink sweep.space, or draw sweep.points of them with sweep.search=random",
    )
    _check_scheduler(config, space)
    base = plan(experiment)
    index = open_data(config) if base.packed else None
    _check_choices(space, compose, base, index)
    return SweepPlan(base, space, points, trials, _side_by_side(config))


def new_search(sweep: SweepConfig, space: list[Parameter], known: int) -> Search:
    return search_of(sweep, space, known)


def words_of(config: Config, point: Point, seed: int) -> list[str]:
    """A trial as overrides: its point and its seed."""
    return [*words(point), f"seed={config.seed + seed}"]


def is_group(key: str) -> bool:
    """Whether a swept key is a whole config group: its values are files of `conf/KEY/`."""
    return (ROOT / "conf" / key).is_dir()


def _check_keys(space: list[Parameter]) -> None:
    for parameter in space:
        key = parameter.key
        own = any(key == each or key.startswith(f"{each}.") for each in NOT_SWEPT) and key not in COMPARABLE
        require(not own, f"sweep.space.{key} cannot be swept: {_why(key)}")
        files = sorted(path.stem for path in (ROOT / "conf" / key).glob("*.yaml"))
        unknown = [value for value in parameter.choices if files and value not in files]
        require(not unknown, f"sweep.space.{key} has {unknown}; choose among {', '.join(files)}")


def _why(key: str) -> str:
    if key in ("seed", "order_seed"):
        return "sweep.seeds says with how many seeds each point is trained"
    return "it is the whole sweep's, or trials would not be comparable"


def _check_scheduler(config: Config, space: list[Parameter]) -> None:
    sweep, epochs = config.sweep, config.training.epochs
    if sweep.scheduler == "none":
        return
    looks = f"sweep.scheduler={sweep.scheduler} looks at trials"
    require(config.evaluation.every_epochs == 1, f"{looks} after every epoch; give evaluation.every_epochs=1")
    require(
        sweep.grace_epochs < epochs,
        f"{looks} from epoch sweep.grace_epochs={sweep.grace_epochs} on, but training.epochs is {epochs:g}; "
        "lower the one or raise the other",
    )
    swept = [parameter.key for parameter in space if parameter.key == "training.epochs"]
    require(not swept, f"{looks} of the same length; leave training.epochs out of sweep.space")
    if sweep.scheduler == "pbt":
        require(sweep.seeds == 1, f"sweep.seeds is {sweep.seeds}; sweep.scheduler=pbt has none: its trials mix")
        require(sweep.search != "tpe", "sweep.scheduler=pbt needs sweep.search=grid or random: it searches by itself")
        require(bool(sweep.mutate), "sweep.mutate is empty; give keys and factors: {optim.lr: [0.8, 1.25]}")
        other = [key for key in sweep.mutate if not key.startswith("optim.")]
        require(not other, f"sweep.mutate has {other}; of a training under way only optim.* can be changed")


def _check_choices(space: list[Parameter], compose: Compose, base: Plan, index: Index | None) -> None:
    """Compose every choice once, and the ends of every range, in a point in which the key is used."""
    for parameter in space:
        for value in parameter.choices or (parameter.low, parameter.high):
            point = _example(space, parameter) | {parameter.key: int(value) if parameter.integer else value}
            config = composed(compose, point, 0, base.experiment.config)
            plan_member(f"{parameter.key}={value}", config, base.train_samples, index)


def composed(compose: Compose, point: Point, seed: int, base: Config) -> Config:
    """A trial's config.

    Raises:
        ConfigError: a key that does not exist, or a value that cannot work, named with its point.
    """
    try:
        return compose(words_of(base, point, seed))
    except (ConfigError, HydraException, OmegaConfBaseException) as error:
        raise ConfigError(f"sweep.space, at {', '.join(words(point))}: {one_line(error)}") from error


def _example(space: list[Parameter], used: Parameter) -> Point:
    """The fewest other keys with which this one is used."""
    known = {parameter.key: parameter for parameter in space}
    point: Point = {}
    for key, values in used.when.items():
        point |= _example(space, known[key]) | {key: values[0]}
    return point


def _side_by_side(config: Config) -> int | None:
    cluster = config.cluster
    if cluster.address is not None:
        return cluster.lanes or None
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    fits = max(1, cpus // (cluster.max_workers * cluster.cpus_per_worker))
    return min(fits, cluster.lanes) if cluster.lanes else fits


def lines(planned: SweepPlan) -> list[str]:
    """The sweep as text, after the plan of its experiment."""
    config = planned.base.experiment.config
    sweep = config.sweep
    width = max(len(parameter.key) for parameter in planned.space) + 2
    beside = f"{planned.side_by_side} side by side" if planned.side_by_side else "as many side by side as fit"
    seeds = f"{sweep.seeds} seed(s)" + (f" for the best {sweep.finalists}" if sweep.finalists else "")
    early = "" if sweep.scheduler == "none" else f"; {sweep.scheduler} from epoch {sweep.grace_epochs} on"
    images = f"one view of each of {planned.base.val_samples} validation images"
    return [
        "",
        f"sweep       {sweep.search}: {planned.points} points, {seeds}: {planned.trials} trials, {beside}{early}",
        f"objective   {' and '.join(sweep.objectives)}, of {images}",
        *(f"  {parameter.key:<{width}}{parameter.text}" for parameter in planned.space),
    ]
