"""The models of an experiment: of each finished member, where its worker has not made it, and of the ensemble; the same
of the further networks that trainings keep.

In: an experiment whose members have ended. Out: their model folders.
"""

import logging
from collections.abc import Callable
from pathlib import Path

from platform.config.sections import Config
from platform.data.index import Index
from platform.evaluation.method import kind_of
from platform.experiment.folder import ExperimentFolder
from platform.experiment.member_folder import MemberFolder
from platform.export.folder import MODEL, export_ensemble, export_member, label_of, place_of
from platform.text import first_line

log = logging.getLogger("platform")
LATER = "the weights stay, and the same command tries again"


def export_experiment(
    finished: dict[str, Config],
    folder: ExperimentFolder,
    index: Index,
    say: Callable[[str], None] = print,
    *,
    together: bool = True,
) -> list[str]:
    """Make what models are missing: of experiments of earlier versions, and of workers that died in between.

    Args:
        finished: members that are trained and evaluated, with their configs.
        folder: the experiment's.
        index: the data set.
        say: told before something is exported, which takes seconds.
        together: whether they are an ensemble, which has a model of its own; rows that are compared are none.

    Returns:
        the members that have a model; the ensemble has one of them all if there are any.
    """
    done: list[str] = []
    kept: dict[str, dict[str, Path | None]] = {}  # kind -> name in the ensemble -> model folder; None: it has none
    for name, config in finished.items():
        for network in ("", *folder.member(name).kept_networks()):
            place = _exported(name, config, folder.member(name), index, network, say)
            if network:
                kept.setdefault(kind_of(network), {})[label_of(name, network)] = place
            elif place:
                done.append(name)
    try:
        if done and len(done) < len(finished):
            log.warning("no model of %s: %d of %d members have one; %s", folder.name, len(done), len(finished), LATER)
        elif done and together:
            export_ensemble({name: folder.member(name).path / MODEL for name in done}, folder.path / MODEL)
            for kind, models in kept.items():
                whole = {label: place for label, place in models.items() if place}
                if len(whole) == len(models):  # else a mean of some would pass for that of all
                    export_ensemble(whole, folder.networks / kind)
    except Exception as error:
        log.warning("the model of %s is not made (%s); %s", folder.name, first_line(error), LATER)
        return []
    return done


def _exported(
    name: str, config: Config, folder: MemberFolder, index: Index, network: str, say: Callable[[str], None]
) -> Path | None:
    """The model of a member or of a further network of its training; None where it cannot be made, which is said."""
    of = f"{name}'s {network}" if network else name
    if not place_of(folder, network).exists():
        say(f"exporting the model of {of} ...")
    try:
        return export_member(name, config, folder, index, network)
    except Exception as error:  # of torch, of the disk: a finished training is finished, with or without a model
        log.warning("the model of %s is not exported (%s); %s", of, first_line(error), LATER)
        return None
