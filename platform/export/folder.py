"""Model folders: one for each member, and one for the ensemble, made of the members' files.

In: trained weights, a config, the data's index. Out: `model/` in a member's folder and in the experiment's, in MLflow's
format; whole, or not there.
"""

import hashlib
import json
import os
import shutil
from dataclasses import asdict, replace
from pathlib import Path

from platform.config.identity import identity
from platform.config.sections import Config
from platform.data.index import Index
from platform.experiment.fingerprint import fingerprint
from platform.experiment.member_folder import MemberFolder
from platform.experiment.origin import Origin, git_commit
from platform.export import ExportError
from platform.export.description import ARTIFACTS, FILE_NAME, Description, artifacts_of
from platform.export.mlmodel import write_mlmodel
from platform.export.package import write_package
from platform.files import replacing_folder
from platform.text import first_line

MODEL = "model"
MOST_USUAL_VIEWS = 10  # unless more are asked for: 144 views take 14 times as long, for a little more


def member_description(name: str, config: Config, folder: MemberFolder, index: Index, network: str = "") -> Description:
    """What a member's model folder should say.

    Args:
        name: of the member.
        config: the member's.
        folder: the member's; its weights are trained.
        index: the data set, which knows the classes' names.
        network: a further one of its training; empty: the member's own.
    """
    label, weights = label_of(name, network), _weights_of(folder, network)
    experiment, data = folder.path.parents[1], config.data
    named = len(index.classes) == data.classes
    digest = hashlib.sha256(json.dumps(identity(asdict(config)), sort_keys=True).encode()).hexdigest()[:16]
    origin = Origin.read(experiment)
    return Description(
        classes=list(index.classes) if named else [str(number) for number in range(data.classes)],
        named=named,
        members=[label],
        image_size=data.image_size,
        mean=list(data.mean),
        std=list(data.std),
        mirror=data.mirror,
        views=min(max(config.evaluation.views), MOST_USUAL_VIEWS),
        experiment=experiment.name,
        data_digest=fingerprint(index),
        config_digests={label: digest},
        weights={label: _digest(weights)},
        commit=origin.commit if origin else git_commit(),
    )


def export_member(name: str, config: Config, folder: MemberFolder, index: Index, network: str = "") -> Path:
    """Make the model folder of a trained member, or of a further network of its training, unless it is there.

    Args:
        name: of the member.
        config: the member's.
        folder: the member's.
        index: the data set.
        network: a further one of its training; empty: the member's own.

    Returns:
        the model's folder.

    Raises:
        ExportError: the network cannot be exported, or its program gives other logits; nothing is left.
        OSError: the disk is full.
    """
    wanted, weights = member_description(name, config, folder, index, network), _weights_of(folder, network)
    place, (label,) = place_of(folder, network), wanted.members
    if is_current(place, wanted):
        return place
    import torch  # and what follows: seconds that need not be where every model is there

    from platform.export.networks import write_program, write_weights
    from platform.models.build import build

    module = build(config.model, config.data.classes, config.data.image_size, config.seed)
    try:
        module.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    except Exception as error:  # whatever torch says of bytes from anywhere
        raise ExportError(f"{weights} is unusable ({first_line(error)})") from error
    with replacing_folder(place) as unfinished:
        artifacts = unfinished / ARTIFACTS
        artifacts.mkdir()
        write_program(module, config.data.image_size, artifacts / f"{label}.pt2")
        write_weights(module, artifacts / f"{label}.safetensors")
        _write_rest(unfinished, wanted)
    return place


def place_of(folder: MemberFolder, network: str = "") -> Path:
    """The model folder of a member, or of a further network of its training."""
    return folder.networks / network if network else folder.path / MODEL


def _weights_of(folder: MemberFolder, network: str) -> Path:
    return folder.networks / f"{network}.pt" if network else folder.weights


def label_of(name: str, network: str) -> str:
    """What the network is called in a model: a member's name, or that and its own."""
    return f"{name}-{network}" if network else name


def export_ensemble(members: dict[str, Path], place: Path) -> Path:
    """Make the ensemble's model folder of its members' model folders, unless it is there. Programs and weights are hard
    links, which take no room, or copies where the file system has no links.

    Args:
        members: name -> model folder of each.
        place: the new folder.

    Returns:
        `place`.

    Raises:
        ExportError: the members have other classes or another preprocessing.
        ValueError: a member's folder is not one.
        OSError: the disk is full.
    """
    wanted = joined([Description.read(folder) for folder in members.values()])
    if is_current(place, wanted):
        return place
    with replacing_folder(place) as unfinished:
        (unfinished / ARTIFACTS).mkdir()
        for name, folder in members.items():
            for file in (f"{name}.pt2", f"{name}.safetensors"):
                _link(artifacts_of(folder) / file, unfinished / ARTIFACTS / file)
        _write_rest(unfinished, wanted)
    return place


def joined(members: list[Description]) -> Description:
    """The description of an ensemble.

    Raises:
        ExportError: the members do not take the same images, or have other classes.
    """
    first = members[0]
    for other in members[1:]:
        if other.preprocessing != first.preprocessing:
            raise ExportError(f"{other.members[0]} and {first.members[0]} differ in classes, image size, mean or std")
    return replace(
        first,
        members=[name for each in members for name in each.members],
        config_digests={name: digest for each in members for name, digest in each.config_digests.items()},
        weights={name: digest for each in members for name, digest in each.weights.items()},
    )


def is_current(folder: Path, wanted: Description) -> bool:
    """Whether the folder holds the model of this description. The commit may be another: what it reads is the same. And
    a model keeps the views that it was made with: they are a default, and a later `job=evaluate` with other views would
    make a new model of the same weights, for MLflow and its registry as well."""
    try:
        return replace(Description.read(folder), commit=wanted.commit, views=wanted.views) == wanted
    except ValueError:
        return False


def _write_rest(folder: Path, description: Description) -> None:
    """All but the programs and the weights."""
    (folder / ARTIFACTS / FILE_NAME).write_text(description.text())
    write_package(folder / "code")
    write_mlmodel(folder, description)


def _link(file: Path, place: Path) -> None:
    try:
        os.link(file, place)
    except OSError:
        shutil.copyfile(file, place)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
