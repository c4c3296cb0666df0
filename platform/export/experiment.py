"""The models of an experiment: of each finished member, where its worker has not made it, and of the ensemble.

In: an experiment whose members have ended. Out: their model folders.
"""

import logging
from collections.abc import Callable

from platform.config.sections import Config
from platform.data.index import Index
from platform.experiment.folder import ExperimentFolder
from platform.export.folder import MODEL, export_ensemble, export_member
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
    done = []
    for name, config in finished.items():
        member = folder.member(name)
        if not (member.path / MODEL).exists():
            say(f"exporting the model of {name} ...")
        try:
            export_member(name, config, member, index)
            done.append(name)
        except Exception as error:  # of torch, of the disk: a finished training is finished, with or without a model
            log.warning("the model of %s is not exported (%s); %s", name, first_line(error), LATER)
    try:
        if done and len(done) < len(finished):
            log.warning("no model of %s: %d of %d members have one; %s", folder.name, len(done), len(finished), LATER)
        elif done and together:
            export_ensemble({name: folder.member(name).path / MODEL for name in done}, folder.path / MODEL)
    except Exception as error:
        log.warning("the model of %s is not made (%s); %s", folder.name, first_line(error), LATER)
        return []
    return done
