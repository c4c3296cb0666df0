"""Which trials of a sweep are trained together (`cluster.fuse`), which are not and why.

In: the experiment's config, and what it becomes with each choice of the space. Out: how many a worker trains at once,
errors, lines of the plan.
"""

import math
from collections.abc import Mapping, Sequence

from platform.cluster.resources import may_have_gpu
from platform.config.checks import require
from platform.config.cluster import FUSED_IF_SMALL
from platform.config.sections import Config
from platform.experiment.fused_plan import (
    ENOUGH_PIXELS,
    ROUNDING,
    against_auto,
    against_settings,
    pixels_of,
    shape_of,
)

OF_THE_PROCESS = ("tf32", "autotune")  # settings of training that hold for all that a process trains
Tried = Mapping[str, Sequence[Config]]  # swept key -> the experiment's config with each of its choices


def trials_together(config: Config, tried: Tried, trials: int, lanes: int, *, on_gpu: bool) -> int:
    """How many trials a worker trains at once at most; 1: each by itself.

    Args:
        config: the experiment's.
        tried: with the choices of the space.
        trials: of the sweep.
        lanes: workers that there would be if each trained one.
        on_gpu: whether workers have one.
    """
    if config.cluster.fuse != FUSED_IF_SMALL:
        return min(config.cluster.fused, trials)
    if not on_gpu or _against(config, tried):
        return 1
    return max(1, min(math.ceil(trials / lanes), _small_enough(config, tried)))


def check_fused_trials(config: Config, tried: Tried) -> None:
    """Whether trials can be trained together in the number that is given.

    Args:
        config: the experiment's.
        tried: with the choices of the space.

    Raises:
        ConfigError: no two of them can.
    """
    fused = config.cluster.fused
    if fused == 1:
        return
    said, remedy = f"cluster.fuse is {fused}, and", "set cluster.fuse=off"
    against = _against(config, tried)
    require(not against, f"{said} {against}; {remedy}")
    alike = config.sweep.seeds > 1 or not all(_all_differ(configs) for configs in tried.values())
    require(alike, f"{said} no two trials are of one shape, as {_list(tried)} set them apart; {remedy}")


def require_population(config: Config, trials: int, places: int) -> None:
    """Whether PBT has all its trials under way at the same time, as it does not know of places at workers.

    Raises:
        ConfigError: there are more trials.
    """
    require(
        config.sweep.scheduler != "pbt" or trials <= places,
        f"cluster.fuse is {config.cluster.fuse}, which gives {places} trials a place, and sweep.scheduler=pbt wants "
        f"one for each of its {trials}; raise cluster.fuse, or set it to off",
    )


def fused_trials_lines(config: Config, tried: Tried) -> list[str]:
    """What the plan says; nothing where every trial is to be trained by itself."""
    cluster = config.cluster
    if cluster.fuse == FUSED_IF_SMALL:
        if why := _against(config, tried):
            return [f"fused       no trials: {why}"]
        if not may_have_gpu(cluster):
            return ["fused       no trials: there is no GPU to train on"]
        if (most := _small_enough(config, tried)) == 1:
            return ["fused       no trials: the step of one is work enough for a GPU"]
        who = f"up to {most} trials in one step, if workers have GPUs and several each"
    elif cluster.fused > 1:
        who = f"up to {cluster.fused} trials in one step of a worker"
    else:
        return []
    apart = [key for key, configs in tried.items() if len(_shapes(configs)) > 1]
    lines = [f"fused       {who}; {ROUNDING}"]
    if apart:
        lines.append(f"            not those that differ in the network or batch by {_list(apart)}")
    return lines


def _against(config: Config, tried: Tried) -> str:
    """Why no trials can be trained together; "": some can."""
    for key, configs in tried.items():
        if any(each.cluster != config.cluster for each in configs):
            return f"{key} is swept, and a worker that trains several trials is the same for all"
        for name in OF_THE_PROCESS:
            if len({getattr(each.training, name) for each in configs}) > 1:
                return f"training.{name} is swept, and holds for all that a worker trains"
    everyone = [each for configs in tried.values() for each in configs] or [config]
    if reasons := [why for each in everyone if (why := against_settings(each))]:
        return reasons[0]
    shapes = {str(shape_of(each)): each for each in everyone}
    reasons = [against_auto(each) for each in shapes.values()]
    return reasons[0] if all(reasons) else ""


def _small_enough(config: Config, tried: Tried) -> int:
    """How many of the largest trials make a GPU's work together."""
    own = pixels_of(config)
    factors = [max(pixels_of(each) / own for each in configs) for configs in tried.values() if configs]
    return max(1, int(ENOUGH_PIXELS // (own * math.prod(factors))))


def _shapes(configs: Sequence[Config]) -> set[str]:
    return {str(shape_of(each)) for each in configs}


def _all_differ(configs: Sequence[Config]) -> bool:
    return len(_shapes(configs)) == len(configs)


def _list(keys: Mapping[str, object] | Sequence[str]) -> str:
    return " and ".join(keys)
