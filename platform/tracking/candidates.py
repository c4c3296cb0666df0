"""A finished run as a candidate for the registry: its models, and what they said of every validation image.

In: the folder of a run, or of one of its members or trials. Out: a `Candidate`, or an error that says what is missing.
"""

from dataclasses import dataclass

from platform.config.checks import VIEW_COUNTS, ConfigError, require
from platform.evaluation.images import ImageResults, read_images
from platform.evaluation.kept import scored
from platform.evaluation.seal import is_complete
from platform.experiment.folder import ExperimentFolder, Record
from platform.experiment.recorded import Recorded
from platform.tracking.journal import Journal
from platform.tracking.models import ENSEMBLE

SPLIT = "val"


@dataclass(frozen=True)
class Candidate:
    """What is registered, by our keys; MLflow's ids of the run and its experiment are known from the journal."""

    label: str  # runs/NAME without its place: NAME or NAME/MEMBER
    experiment: str  # MLflow's id of its experiment
    run: str  # MLflow's id of the run
    model: str  # our key of the model
    members: dict[str, str]  # member -> our key of its model; empty of a single network
    images: ImageResults  # whose ensemble is the candidate
    validation: str  # which images these are, with their digest; empty: not known
    data: str  # the same of all splits
    commit: str
    tried: int = 1  # among how many it was chosen by these images: the trials of its sweep


def candidate(then: Recorded, tried: int = 1) -> Candidate:
    """The candidate of a run.

    Args:
        then: what its folder says.
        tried: among how many it was chosen, of a sweep's trial.

    Raises:
        ConfigError: it is not finished, has no model, or MLflow has not got all of it.
    """
    assert then.folder is not None
    folder, names = ExperimentFolder(then.folder), list(then.configs)
    record, journal = folder.record(), Journal(folder.tracking, for_reading=True)
    label = then.name if then.name == folder.name else f"{folder.name}/{names[0]}"
    then.require_one(label)
    is_trial = "sweep" in record.identity
    images = read_images(folder.member(names[0]).images if is_trial else folder.images(SPLIT))
    _require_whole(label, folder, names, images, journal.waiting)
    is_part = label != folder.name
    key = record.member_runs[names[0]] if is_part else record.parent_run
    known = journal.notes.get(key or "")
    if not known or not known.get("experiment"):
        raise ConfigError(f"{label} has no run in MLflow; its own command makes it")
    several = len(names) > 1
    origin, data = then.origin, then.data or {}
    return Candidate(
        label=label,
        experiment=known["experiment"],
        run=known["id"],
        model=_model(record, ENSEMBLE if several else names[0], label),
        members={name: _model(record, name, label) for name in names} if several else {},
        images=images if images and images.names == names else _scored(folder, names),
        validation=data.get(SPLIT, ""),
        data="; ".join(f"{split}: {what}" for split, what in data.items()),
        commit=origin.commit if origin else "",
        tried=tried,
    )


def _require_whole(
    label: str, folder: ExperimentFolder, names: list[str], images: ImageResults | None, waiting: int
) -> None:
    """Refuse a run of which something is still to come.

    Raises:
        ConfigError: it is not finished, or entries are queued for MLflow.
    """
    kept = images.names if images else []  # probabilities are large, and may have been removed since
    unfinished = [name for name in names if name not in kept and not folder.member(name).is_finished(1, SPLIT)]
    require(not unfinished, f"{label} is not finished: {', '.join(unfinished)}; its own command goes on with it")
    require(not waiting, f"{waiting} entries of {label} are queued for MLflow; its own command delivers them first")


def _model(record: Record, name: str, label: str) -> str:
    """Our key of a model.

    Raises:
        ConfigError: MLflow has not got it.
    """
    if name not in record.models:
        whose = f"of {name} " if name and name != label.rpartition("/")[2] else ""
        raise ConfigError(
            f"{label} has no model {whose}in MLflow; its own command with export.models=true makes it (of a sweep the "
            "best trial has one; promote others)"
        )
    return record.models[name]


def _scored(folder: ExperimentFolder, names: list[str]) -> ImageResults:
    """What the probabilities say of each image: of a member or trial alone the run has not kept that."""
    places = {name: folder.member(name).probabilities_of(SPLIT) for name in names}
    views = [count for count in VIEW_COUNTS if all(is_complete(place, count) for place in places.values())]
    require(
        bool(views), f"the probabilities of {', '.join(names)} in {folder.path} are gone; job=evaluate makes them anew"
    )
    images = scored(places, views).images
    assert images is not None
    return images
