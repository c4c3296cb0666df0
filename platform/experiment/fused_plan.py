"""Which members are trained together (`cluster.fuse`), which are not and why, as the plan says it.

In: members' configs. Out: teams of those whose steps can be computed as one, errors, lines of the plan.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from platform.cluster.resources import may_have_gpu
from platform.config.checks import require
from platform.config.cluster import FUSED_IF_SMALL
from platform.config.identity import differences, flatten
from platform.config.sections import Config
from platform.config.training import NOT_COMPILED

ENOUGH_PIXELS = 32 * 224**2  # in a step: with more of them a GPU has work enough, and there is room for so many
OWN_OF_MODEL = ("dropout", "auxiliary_weight", "init", "init_digest")  # that may differ between members of a team
SHARED_OF_TRAINING = (
    "batch_size",
    "max_batch_per_worker",
    "precision",
    "channels_last",
    "tf32",
    "autotune",
    "sizes",
)
ROUNDING = "they end as by themselves but for rounding, not to the last bit"
Members = Mapping[str, Config]


def teams(members: Members, at_most: int) -> list[list[str]]:
    """Members that are trained together, each of the others by itself; in the order of the first of each team.

    Args:
        members: name -> config.
        at_most: members of a team, of which there are as few as can be, as even as can be.
    """
    found: list[list[str]] = []
    for names in _alike(members):
        count = -(-len(names) // at_most)
        bounds = [len(names) * number // count for number in range(count + 1)]
        found += [names[start:stop] for start, stop in zip(bounds[:-1], bounds[1:], strict=True)]
    order = {name: number for number, name in enumerate(members)}
    return sorted(found, key=lambda team: order[team[0]])


def teams_of_launch(members: Members, lanes: int, *, on_gpu: bool) -> list[list[str]]:
    """The teams of a launch. With auto a lane trains together what it would train one after another, if it is small.

    Args:
        members: that are to be trained: name -> config; none, where all are only evaluated.
        lanes: that there would be if each were trained by itself.
        on_gpu: whether workers have one.
    """
    if not members:
        return []
    first = next(iter(members.values()))
    if first.cluster.fuse != FUSED_IF_SMALL:
        return teams(members, first.cluster.fused)
    if not on_gpu or against_auto(first):
        return teams(members, 1)
    in_a_lane = -(-len(members) // lanes)
    return [
        team
        for names in _alike(members)
        for team in teams({name: members[name] for name in names}, min(in_a_lane, _small_enough(members[names[0]])))
    ]


def check_fused(members: Members) -> None:
    """Whether members can be trained together in the number that is given.

    Raises:
        ConfigError: no two of them can.
    """
    first = next(iter(members.values()))
    fused = first.cluster.fused
    if fused == 1 or is_sweep(first):  # whose trials are of its own plan: see sweep/fused_trials.py
        return
    said, remedy = f"cluster.fuse is {fused}, and", "set cluster.fuse=off"
    require(len(members) > 1, f"{said} there is one member to train; {remedy}")
    names = max(_alike(members), key=len)
    require(len(names) > 1, f"{said} no two members are of one shape ({'; '.join(_apart(members))}); {remedy}")
    refusal = _of_network(members[names[0]])
    require(not refusal, f"{said} {first.model.name} cannot be computed for several members ({refusal}); {remedy}")


def fused_lines(members: Members) -> list[str]:
    """What the plan says; nothing where every member is to be trained by itself."""
    first = next(iter(members.values()))
    fuse = first.cluster.fuse
    if len(members) == 1 or (first.cluster.fused == 1 and fuse != FUSED_IF_SMALL):
        return []
    if fuse == FUSED_IF_SMALL:
        return [f"fused       {_auto(members)}"]
    text = [
        f"fused       {', '.join(team)}: {len(team)} members in one step; {ROUNDING}"
        for team in teams(members, first.cluster.fused)
        if len(team) > 1
    ]
    return [*text, *(f"            {each}" for each in _apart(members))]


def _auto(members: Members) -> str:
    first = next(iter(members.values()))
    if why := against_auto(first):
        return f"no members: {why}"
    if not may_have_gpu(first.cluster):
        return "no members: there is no GPU to train on"
    most = {len(names): min(len(names), _small_enough(members[names[0]])) for names in _alike(members)}
    several = [f"up to {at_most} of {count}" for count, at_most in most.items() if at_most > 1]
    if not several:
        return "no members: the step of one is work enough for a GPU, or no two are of one shape"
    return f"{' and '.join(several)} members in one step, if workers have GPUs and a lane several of these; {ROUNDING}"


def against_settings(config: Config) -> str:
    """Why a member with such settings is trained by itself; "": they do not say so."""
    if config.cluster.max_workers > 1:
        return f"cluster.workers is {config.cluster.workers_text}"
    if config.training.compile != NOT_COMPILED:
        return f"training.compile is {config.training.compile}"
    if config.training.cuda_graphs:
        return "training.cuda_graphs makes a graph of one member's step"
    if config.training.profile_steps:
        return "training.profile_steps traces each by itself"
    return ""


def against_auto(config: Config) -> str:
    """Why auto trains every member by itself, whatever the members are; "": it may not."""
    return against_settings(config) or _of_network(config)


def is_sweep(config: Config) -> bool:
    """Whether the job is a sweep, or checks one."""
    return config.job == "sweep" or (config.job == "check" and bool(config.sweep.space))


def _small_enough(config: Config) -> int:
    """How many such members make a GPU's work together."""
    return max(1, ENOUGH_PIXELS // pixels_of(config))


def pixels_of(config: Config) -> int:
    """Those of the images that are in a worker's memory at once, in a step of the member alone."""
    images = min(config.training.batch_size, config.training.max_batch_per_worker)
    return images * config.data.image_size**2


def _alike(members: Members) -> list[list[str]]:
    """Names of members whose steps can be computed as one; each is in one of the lists."""
    found: list[tuple[dict[str, Any], list[str]]] = []
    for name, config in members.items():
        shape = shape_of(config)
        for other, names in found:
            if shape == other:
                names.append(name)
                break
        else:
            found.append((shape, [name]))
    return [names for _, names in found]


def shape_of(config: Config) -> dict[str, Any]:
    """The settings that members in one step share, with dotted keys."""
    model = {key: value for key, value in asdict(config.model).items() if key not in OWN_OF_MODEL}
    training = {key: value for key, value in asdict(config.training).items() if key in SHARED_OF_TRAINING}
    return flatten({"model": model, "training": training, "data": {"image_size": config.data.image_size}})


def _apart(members: Members) -> list[str]:
    """A line for each member that has none of its shape, with what differs from the largest group of others."""
    alike = _alike(members)
    largest = max(alike, key=len)
    shape = shape_of(members[largest[0]])
    return [
        f"{names[0]} by itself: {', '.join(differences(shape, shape_of(members[names[0]])))}"
        for names in alike
        if len(names) == 1 and names is not largest
    ]


def _of_network(config: Config) -> str:
    """Why a network's layers cannot be computed for several members at once; "": they can."""
    from platform.training.fused.rehearsal import refusal  # with torch, which a usual plan need not import

    return refusal(config.model, config.data.classes, config.data.image_size)
