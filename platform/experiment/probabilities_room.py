"""What the kept probabilities of an experiment take on disk, and whether there is room for them.

In: the experiment and its number of evaluated images. Out: bytes, words for the plan, and a refusal before anything
starts: on a full disk an evaluation would end hours later.
"""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from platform.config.checks import require
from platform.config.evaluation import ALL, MEANS
from platform.config.experiment import Experiment
from platform.config.sections import Config
from platform.evaluation.stored import Stored
from platform.experiment.folder import ExperimentFolder

WORTH_SAYING = 10**9  # bytes


@dataclass(frozen=True)
class Room:
    """Of an experiment's probabilities, in bytes."""

    of_member: int
    members: int
    lacking: int  # that are not there yet

    @property
    def text(self) -> str:
        """For the plan; empty where it is little."""
        if self.of_member * self.members < WORTH_SAYING:
            return ""
        return f", {probabilities_text(self.of_member, self.members)}"


def probabilities_text(of_each: int, count: int) -> str:
    """`101 GB of probabilities, 14.4 GB each`."""
    return f"{_gb(of_each * count)} of probabilities" + (f", {_gb(of_each)} each" if count > 1 else "")


def room_of(experiment: Experiment, samples: int) -> Room:
    """What an experiment's probabilities take. Those that are there, whole or not, are not needed again.

    Args:
        experiment: its config and members.
        samples: images that are evaluated.
    """
    folder, split = ExperimentFolder(experiment.folder), experiment.config.evaluation.split
    each, lacking = bytes_of(experiment.config, samples), 0
    for name in experiment.members:
        member = folder.member(name)
        if experiment.config.fresh or not member.is_finished(max(experiment.config.evaluation.views), split):
            there = 0 if experiment.config.fresh else _size_of(member.probabilities_of(split))
            lacking += max(each - there, 0)
    return Room(each, len(experiment.members), lacking)


def bytes_of(config: Config, samples: int) -> int:
    """What a member's probabilities take, those of further networks of its training among them."""
    training, evaluation = config.training, config.evaluation
    networks = 1 + len(training.also_average) + (config.schedule.cycles if training.snapshots else 0)
    stored, views = Stored.of(evaluation, config.data.classes), max(evaluation.views)
    return networks * stored.bytes_of(samples, views, config.data.classes, evaluation.stored_dtype)


def require_room(experiment: Experiment, samples: int) -> None:
    """Refuse an experiment whose probabilities its disk has no room for. Of one that is submitted to Kubernetes the
    volume is not here, and the pods ask.

    Raises:
        ConfigError: with what there is, and the remedy.
    """
    config = experiment.config
    lacking = room_of(experiment, samples).lacking
    if config.cluster.kube is not None or lacking < WORTH_SAYING:
        return
    place = _existing(experiment.folder)
    free, evaluation = shutil.disk_usage(place).free, config.evaluation
    fewer = bytes_of(replace(config, evaluation=replace(evaluation, keep=MEANS)), samples)
    means = f"evaluation.keep=means ({_gb(fewer)} a member)" if evaluation.keep == ALL else "fewer evaluation.views"
    require(
        lacking <= free,
        f"the probabilities of {samples:,} images x {max(evaluation.views)} views x {config.data.classes} classes take "
        f"{_gb(lacking)} more (evaluation.keep={evaluation.keep}, {evaluation.stored_dtype}), and {place} has "
        f"{_gb(free)} free; give {means}, or another output_dir",
    )


def _size_of(folder: Path) -> int:
    """Of the parts of an evaluation that was killed, which are written over."""
    return sum(file.stat().st_size for file in folder.glob("part-*.npy"))


def _existing(folder: Path) -> Path:
    return next(place for place in (folder.absolute(), *folder.absolute().parents) if place.is_dir())


def _gb(count: int) -> str:
    return f"{count / 1e9:,.3g} GB" if count < 1e12 else f"{count / 1e9:,.0f} GB"
