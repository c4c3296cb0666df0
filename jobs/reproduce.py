"""`job=reproduce`: a run again from its record, and whether the same comes out.

In: the folder of a run, or the id of one in MLflow. Out: what differs here, the run under another name, and a
comparison to the last bit. Where it runs and where results go is said by this command line; all else by the record.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jobs import train
from jobs.pack import prepare_data
from platform.config.checks import ConfigError, require, require_effect
from platform.config.data import AlsoConfig
from platform.config.experiment import SINGLE, Experiment
from platform.config.models import ModelConfig, OwnModelConfig
from platform.config.sections import Config
from platform.data.urls import is_remote
from platform.evaluation import report
from platform.experiment.fingerprint import fingerprint
from platform.experiment.folder import ExperimentFolder
from platform.experiment.origin import changes, origin_here
from platform.experiment.places import initial_weights_file
from platform.experiment.recorded import Recorded, recorded_in
from platform.overrides import key_of
from platform.text import printable
from platform.tracking.sqlite_store import require_there

HERE = (
    "job",
    "name",
    "fresh",
    "output_dir",
    "reproduce",
    "cluster",
    "storage",
    "tracking",
    "registry",
    "checkpoint.copy_to",
    "data.shards",
    "data.source",
    "data.also",
)
# Of cluster: they change the last bits of sums.
OF_THE_RUN = ("workers", "cpus_per_worker", "gpus_per_worker", "lanes", "fuse")
SHOWN = 4  # lines of a member's comparison
RUN_ID = re.compile(r"[0-9a-f]{32}")  # MLflow's


def run(experiment: Experiment) -> int:
    """Repeat a run.

    Returns:
        0 if all of it came out as before, to the last bit; 1 if not; else the status of the training.

    Raises:
        ConfigError: there is no such run, its data are not here, or it cannot be run by this version.
    """
    then = recorded(experiment.config)
    require_nothing_else(experiment.overrides, own_networks(then))
    require_said(experiment, then)
    again = repeated(then, experiment)
    print("\n".join(["reproduces " + describe(then), *map(printable, different_here(then, again))]), flush=True)
    require_same_data(then, again.config)
    if status := train.run(again):
        return status
    lines, same = compared(then, again)
    print("\n".join(["", *lines]))
    return 0 if same else 1


def recorded(config: Config) -> Recorded:
    """The record of `reproduce.run`.

    Raises:
        ConfigError: there is none.
    """
    place = config.reproduce.run
    require(place is not None, "reproduce.run is null; give runs/NAME, or the id of a run in MLflow")
    assert place is not None
    if RUN_ID.fullmatch(place) and not Path(place).exists():
        require_there(config.tracking, f"reproduce.run is {place}")
        from platform.tracking.mlflow_record import recorded_by  # MLflow takes seconds to import

        return recorded_by(config.tracking, place)
    return recorded_in(place, Path(config.output_dir))


def require_nothing_else(overrides: list[str], own: Sequence[str] = ()) -> None:
    """Refuse overrides of what the record says, but for the name of a network of one's own, `own`.

    Raises:
        ConfigError: one that would be without effect.
    """
    remedy = "leave it out, or train with it under another name"
    allowed = (*HERE, "model.name") if own else HERE
    require_effect(overrides, allowed, ": job=reproduce repeats a run as it was", remedy)


def require_said(experiment: Experiment, then: Recorded) -> None:
    """A network of one's own is code that is imported by its name: not by the word of a record, which may be anybody's.

    Raises:
        ConfigError: this command line does not name it.
    """
    for name in own_networks(then):
        require(
            experiment.config.model.name == name,
            f"the network of {then.name} is {name}, code that is run by importing it; give model.name={name} as well",
        )


def own_networks(then: Recorded) -> list[str]:
    """Names of the networks that are nobody's but the user's."""
    found = (config.model.name for config in then.configs.values() if isinstance(config.model, OwnModelConfig))
    return list(dict.fromkeys(found))


def repeated(then: Recorded, experiment: Experiment) -> Experiment:
    """The experiment of the record, to be run here, by default as NAME-reproduced."""
    here = experiment.config
    name = here.name or f"{then.name}-reproduced"
    members = {member: _here(config, experiment, name, then.folder) for member, config in then.configs.items()}
    base = next(iter(members.values()))
    if list(members) != [SINGLE]:
        base = replace(base, job="ensemble")
    return Experiment(base, members, experiment.overrides, experiment.choices, experiment.composer)


def _here(config: Config, experiment: Experiment, name: str, folder: Path | None) -> Config:
    """A member's config with this command line's places; the workers are as many as they were unless it says so."""
    here, given = experiment.config, {key_of(override) for override in experiment.overrides}
    of_cluster = {} if "cluster" in given else {key: getattr(config.cluster, key) for key in OF_THE_RUN}
    cluster = replace(here.cluster, **{k: v for k, v in of_cluster.items() if f"cluster.{k}" not in given})
    places: dict[str, Any] = {"shards": moved_along(config, folder), "also": _also_here(config, here, folder)}
    places |= {key: getattr(here.data, key) for key in ("shards", "source") if f"data.{key}" in given}
    return replace(
        config,
        model=_kept_weights(config, folder),
        name=name,
        job="distill" if config.distill.teacher else "train",
        fresh=here.fresh,
        output_dir=here.output_dir,
        data=replace(config.data, **places),
        storage=here.storage,
        checkpoint=replace(config.checkpoint, copy_to=here.checkpoint.copy_to),
        cluster=cluster,
        tracking=here.tracking,
        registry=here.registry,
        reproduce=here.reproduce,
    )


def _kept_weights(config: Config, folder: Path | None) -> ModelConfig:
    """The model with the weights that the run itself has kept of those that it began with."""
    model = config.model
    kept = initial_weights_file(folder, model.init_digest) if folder and model.init else None
    return replace(model, init=str(kept)) if kept and kept.exists() else model


def _also_here(config: Config, here: Config, folder: Path | None) -> dict[str, AlsoConfig]:
    """The record's further sets, at the places that this command line has for them.

    Raises:
        ConfigError: this command line has other sets or weights.
    """
    then, given = config.data.others, here.data.others
    for name, each in given.items():
        require(
            name in then and then[name].weight == each.weight,
            f"data.also.{name} of weight {each.weight:g} is not of the run, which had "
            f"{', '.join(f'{known} of {other.weight:g}' for known, other in then.items()) or 'no data.also'}; give the "
            "same names and weights, and other shards",
        )
    return {
        name: given.get(name) or replace(each, shards=moved_along(config, folder, each.shards))
        for name, each in then.items()
    }


def moved_along(config: Config, folder: Path | None, place: str | None = None) -> str:
    """Where shards are: if they were in the project's folder and that was moved, they have gone with it.

    Args:
        config: of the record.
        folder: the run's, as it is called now; None: it is on another machine.
        place: where they were; None: those of `data.shards`.
    """
    place = place or config.data.shards
    shards, project = Path(place), Path(config.output_dir).parent
    if folder is None or is_remote(place) or shards.exists() or not shards.is_relative_to(project):
        return place
    return str(folder.parent.parent / shards.relative_to(project))


def describe(then: Recorded) -> str:
    """Which run it is, when and with which command it was made, as far as that is known."""
    if then.origin is None:
        return f"{then.name}: what it was made with is not known, an earlier version did not keep it"
    return f"{then.name} of {then.origin.began} on {then.origin.host}: {then.origin.command}"


def different_here(then: Recorded, again: Experiment) -> list[str]:
    """What differs from the machine and the code of then, and what that means."""
    found = changes(then.origin, origin_here(again.overrides, {})) if then.origin else []
    for key in OF_THE_RUN:
        old, new = (getattr(next(iter(configs.values())).cluster, key) for configs in (then.configs, again.members))
        if old != new:
            found.append(f"cluster.{key}: {old} -> {new}")
    old, new = (next(iter(configs.values())).data.places for configs in (then.configs, again.members))
    place = [f"{key} is {new[key]}, not {old[key]} as then" for key in old if old[key] != new[key]]
    if not found:
        same = ["the same code, packages and devices as then: it comes out the same to the last bit"]
        return place + (same if then.origin else [])
    return place + [f"differs here  {line}" for line in found]


def require_same_data(then: Recorded, config: Config) -> None:
    """Read the index of the data, which are packed where they are not there, and compare it with the record.

    Raises:
        ConfigError: they are other data.
    """
    found = fingerprint(prepare_data(config))
    if then.data is None:
        print("the record does not say which data it was; nothing is compared before the training")
    elif found != then.data:
        splits = [split for split in sorted(found | then.data) if found.get(split) != then.data.get(split)]
        said = "; ".join(f"{s}: {then.data.get(s, 'none')} then, {found.get(s, 'none')} here" for s in splits)
        places = ", ".join(f"{key}={place}" for key, place in config.data.places.items())
        raise ConfigError(f"{places} has other data ({said}); give data.shards=PLACE of those")


def compared(then: Recorded, again: Experiment) -> tuple[list[str], bool]:
    """Compare weights bit by bit, and the scores, with those of then; returns lines to print, and whether all is the
    same."""
    found = list(_same_weights(then, again) if then.folder else []) + list(_same_figures(then, again))
    same = bool(found) and all(equal for _, equal in found)
    verdict = "reproduced, to the last bit" if same and then.folder else "reproduced, to the last digit of the scores"
    lines = [line for line, _ in found] or ["the run of then has neither weights nor scores: nothing is compared"]
    return [*lines, verdict if same else "not reproduced"], same


def _same_weights(then: Recorded, again: Experiment) -> Iterator[tuple[str, bool]]:
    """A line for each member, and whether its weights are the same."""
    from platform.chaos import compare  # torch takes a second

    assert then.folder is not None
    old, new = ExperimentFolder(then.folder), ExperimentFolder(again.folder)
    for name in again.members:
        if not old.member(name).is_trained():
            yield f"{name}: the run of then has no weights", False
            continue
        comparison = compare.weights(old.member(name).path, new.member(name).path)
        for line in comparison.lines()[:SHOWN]:
            yield f"{name}: {line}", comparison.equal


def _same_figures(then: Recorded, again: Experiment) -> Iterator[tuple[str, bool]]:
    """A line for each member whose final figures are known, and whether they are the same."""
    scores = train.scores_of(again)
    for name, old in then.figures.items():
        new = report.metrics(scores.members[name], "val")
        common = old.keys() & new.keys()
        unequal = [f"{key} {old[key]!r} then, {new[key]!r} now" for key in sorted(common) if old[key] != new[key]]
        if common:
            said = f"differ: {'; '.join(unequal[:SHOWN])}" if unequal else f"the same ({len(common)} figures)"
            yield f"{name}: final figures {said}", not unequal
