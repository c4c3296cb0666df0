"""What a sweep will do, worked out and checked before anything starts.

In: an experiment with `sweep.space`. Out: its parameters, how many points and trials, how many trials side by side.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from platform.cluster.resources import cpus_here
from platform.config.checks import require
from platform.config.experiment import Experiment
from platform.config.jobs import SweepConfig
from platform.config.sections import Config
from platform.experiment.plan import Plan, plan
from platform.experiment.probabilities_room import WORTH_SAYING, bytes_of, probabilities_text
from platform.sweep.checks import PointChecks, check_keys, check_scheduler, refuse_without_effect
from platform.sweep.fused_trials import check_fused_trials, fused_trials_lines, require_population
from platform.sweep.space import Parameter, grid_size, parameters

IDENTITY = ("space", "search", "objectives", "scheduler", "grace_epochs", "reduction", "mutate", "seed")


@dataclass(frozen=True)
class SweepPlan:
    """A sweep that was checked."""

    base: Plan  # of the experiment without the sweep
    space: list[Parameter]
    points: int
    trials: int
    side_by_side: int | None  # None: the cluster's size is not known yet
    tried: Mapping[str, Sequence[Config]]  # swept key -> the experiment's config with each of its choices


def sweep_identity(sweep: SweepConfig) -> dict[str, Any]:
    """What makes a sweep the one that it is, beside its experiment and data; empty: there is no sweep."""
    return {"sweep": {key: asdict(sweep)[key] for key in IDENTITY}} if sweep.space else {}


def plan_sweep(experiment: Experiment) -> SweepPlan:
    """Plan the sweep of an experiment, and check everything that can be checked without Ray.

    Raises:
        ConfigError: with the value, the limit and the remedy.
    """
    config, sweep = experiment.config, experiment.config.sweep
    require(
        not config.ensemble.members,
        "a sweep trains single models, but ensemble.members has some; give ensemble=none (job=promote makes ensembles)",
    )
    space = parameters(sweep.space)
    check_keys(space)
    refuse_without_effect(experiment.overrides, space)
    points = _points(sweep, space)
    trials = points + (sweep.seeds - 1) * min(points, sweep.finalists or points)
    require(
        trials <= sweep.max_trials,
        f"the sweep has {trials} trials ({points} points, {sweep.seeds} seeds), more than sweep.max_trials "
        f"({sweep.max_trials}); raise it, shrink sweep.space, or draw sweep.points of them with sweep.search=random",
    )
    check_scheduler(config, space)
    base = plan(experiment)
    checks = PointChecks(space, base, base.index)
    checks.run()
    check_fused_trials(config, checks.tried)
    beside = _side_by_side(config)
    if beside and config.cluster.fused > 1:
        require_population(config, trials, beside)
    return SweepPlan(base, space, points, trials, beside, checks.tried)


def _points(sweep: SweepConfig, space: list[Parameter]) -> int:
    if sweep.search == "grid":
        points = grid_size(space)
        return min(points, sweep.points or points)
    points = sweep.points or 0
    most = grid_size(space) if all(parameter.choices for parameter in space) else points
    require(points <= most, f"sweep.points is {points}, but sweep.space has {most}; lower it, or use sweep.search=grid")
    return points


def _side_by_side(config: Config) -> int | None:
    cluster = config.cluster
    if cluster.address is not None:
        return cluster.lanes * cluster.fused or None
    fits = max(1, cpus_here() // (cluster.max_workers * cluster.cpus_per_worker))
    return (min(fits, cluster.lanes) if cluster.lanes else fits) * cluster.fused


def lines(planned: SweepPlan) -> list[str]:
    """The sweep as lines for a terminal, to be printed after the plan of its experiment."""
    config = planned.base.experiment.config
    sweep = config.sweep
    width = max(len(parameter.key) for parameter in planned.space) + 2
    beside = f"{planned.side_by_side} side by side" if planned.side_by_side else "as many side by side as fit"
    seeds = f"{sweep.seeds} seed(s)" + (f" for the best {sweep.finalists}" if sweep.finalists else "")
    early = "" if sweep.scheduler == "none" else f"; {sweep.scheduler}"
    early += f" from epoch {sweep.grace_epochs} on" if sweep.scheduler in ("asha", "median") else ""
    images = f"one view of each of {planned.base.val_samples} validation images"
    each = bytes_of(config, planned.base.evaluated_samples)
    kept = f"probabilities  at most {probabilities_text(each, planned.trials)}, of trials that are trained to the end"
    return [
        "",
        f"sweep       {sweep.search}: {planned.points} points, {seeds}: {planned.trials} trials, {beside}{early}",
        f"objective   {' and '.join(sweep.objectives)}, of {images}",
        *fused_trials_lines(config, planned.tried),
        *([kept] if each * planned.trials >= WORTH_SAYING else []),
        *(f"  {parameter.key:<{width}}{parameter.text}" for parameter in planned.space),
    ]
