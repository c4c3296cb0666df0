"""`fresh=true`: what is there is moved aside, once.

In: an experiment. Out: the one to run; the old run in a dated folder beside it. On Kubernetes a RayJob's pods hand the
same command to its head again when they or the head were lost: then `fresh=true` has been done, and the run goes on.
"""

import contextlib
import os
import time
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from platform.config.checks import ConfigError
from platform.config.experiment import Experiment
from platform.overrides import key_of

FRESH_FOR = "PLATFORM_FRESH_FOR"  # of the environment of a RayJob's head: its RayCluster, which no other attempt has


def fresh_for() -> str:
    """The RayCluster for which `fresh=true` is done once; empty: there is none, and each command begins anew."""
    return os.environ.get(FRESH_FOR, "")


def once(experiment: Experiment) -> Experiment:
    """The experiment; without `fresh=true` where the run in its folder was begun so for this RayCluster already."""
    cluster = fresh_for()
    if not experiment.config.fresh or not cluster or _begun_for(experiment) != cluster:
        return experiment
    print(f"{experiment.name}: fresh=true is done, as this RayJob began the run; it goes on", flush=True)
    return replace(
        experiment,
        config=replace(experiment.config, fresh=False),
        members={name: replace(member, fresh=False) for name, member in experiment.members.items()},
        overrides=[each for each in experiment.overrides if key_of(each) != "fresh"],
    )


def same_command(experiment: Experiment) -> str:
    """What goes on with the run, for messages."""
    return "the same command" + (" without fresh=true" if experiment.config.fresh or fresh_for() else "")


def set_aside(folder: Path, record: str, stay: Collection[str]) -> None:
    """Move the files of an experiment's folder into a dated one beside it.

    Args:
        folder: of the experiment.
        record: the name of the file that says that there is a run, which is moved last.
        stay: names of what is left where it is.
    """
    aside = folder.with_name(f"{folder.name}.{time.strftime('%Y%m%d-%H%M%S')}")
    aside.mkdir()
    files = [file for file in folder.iterdir() if file.name not in stay]
    for file in sorted(files, key=lambda file: file.name == record):
        file.rename(aside / file.name)


def _begun_for(experiment: Experiment) -> str:
    from platform.experiment.folder import ExperimentFolder  # which uses this module

    folder = ExperimentFolder(experiment.folder)
    with contextlib.suppress(ConfigError):  # a damaged record: it is moved aside
        return folder.record().fresh_for if folder.exists() else ""
    return ""
