"""The teacher of `job=distill`: the finished members of another experiment, found and checked before Ray starts.

In: the experiment of the network that learns. Out: the same with `distill.digest`, and the teacher's members.
"""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from platform.config.checks import VIEW_COUNTS, ConfigError, require
from platform.config.experiment import SINGLE, Experiment
from platform.config.sections import Config
from platform.data.index import Index
from platform.evaluation.seal import is_complete
from platform.experiment.fingerprint import fingerprint
from platform.experiment.folder import ExperimentFolder
from platform.experiment.packed_data import is_packed, open_data
from platform.experiment.recorded import Recorded, recorded_in
from platform.models.sources import require_shipped

TEACHING = ("distill", "check", "reproduce")  # jobs that need the teacher itself, and not what was noted of it


@dataclass(frozen=True)
class TeacherMember:
    """One of the networks that a training learns from."""

    name: str
    config: Config
    weights: Path


@dataclass(frozen=True)
class Teacher:
    """A finished experiment, or one of its members."""

    key: str  # as it is given
    run: Recorded

    @classmethod
    def of(cls, config: Config) -> "Teacher":
        """That of a config which has one.

        Raises:
            ConfigError: there is no such run, or it is no classifier.
        """
        place = str(config.distill.teacher)
        try:
            run = recorded_in(place, Path(config.output_dir))
            run.require_one(place)
        except ConfigError as error:
            raise ConfigError(f"distill.teacher: {error}") from error
        return cls(place, run)

    @property
    def members(self) -> list[TeacherMember]:
        """Its networks."""
        folder = self.folder
        return [TeacherMember(name, config, folder.member(name).weights) for name, config in self.run.configs.items()]

    @property
    def folder(self) -> ExperimentFolder:
        """The whole experiment's."""
        assert self.run.folder is not None, "a run that is read from a folder has one"
        return ExperimentFolder(self.run.folder)

    def require_finished(self, config: Config) -> None:
        """Whether it can teach a network of that config.

        Raises:
            ConfigError: a member is not trained, knows other classes, or is of a network that was not shipped.
        """
        untrained = [each.name for each in self.members if not each.weights.exists()]
        require(
            not untrained,
            f"distill.teacher is {self.key}, whose {', '.join(untrained)} is not trained; let it finish with the "
            "command that began it, or give one of its members",
        )
        require(
            self.folder.path.absolute() != (Path(config.output_dir) / str(config.name or "")).absolute(),
            f"distill.teacher is {self.key}, the folder of this experiment itself; give another name=",
        )
        for each in self.members:
            classes = each.config.data.classes
            require(
                classes == config.data.classes,
                f"distill.teacher is {self.key}, of {classes} classes, and data.classes is {config.data.classes}; give "
                "a teacher of the same data",
            )
            require_shipped(each.config)

    def require_data(self, index: Index) -> None:
        """Whether it was trained on these images.

        Raises:
            ConfigError: they are others.
        """
        then, here = (self.run.data or {}).get("train"), fingerprint(index)["train"]
        require(
            then == here,
            f"distill.teacher is {self.key}, which was trained on other images ({then}) than these ({here}); give "
            "data.shards=PLACE of those",
        )

    def digest(self) -> str:
        """16 hexadecimal digits of the weights of all members."""
        found = hashlib.sha256()
        for each in self.members:
            with each.weights.open("rb") as file:
                found.update(hashlib.file_digest(file, "sha256").digest())
        return found.hexdigest()[:16]

    def evaluated(self, split: str) -> tuple[dict[str, Path], int]:
        """The members' folders of probabilities of a split, and in how many crops all of them are there; 0: not."""
        places = {each.name: self.folder.member(each.name).probabilities_of(split) for each in self.members}
        views = [count for count in VIEW_COUNTS if all(is_complete(place, count) for place in places.values())]
        return places, max(views, default=0)


def with_teacher(experiment: Experiment) -> Experiment:
    """The experiment with the digest of its teacher, which is checked as far as that goes before Ray starts.

    A job that trains nothing takes the digest that is in the experiment's record, wherever the teacher is by now.

    Raises:
        ConfigError: it has a teacher that cannot teach it.
    """
    config = experiment.config
    if config.distill.teacher is None:
        return experiment
    digest = "" if config.job in TEACHING else _recorded_digest(experiment)
    if not digest:
        teacher = Teacher.of(config)
        teacher.require_finished(replace(config, name=experiment.name))
        if is_packed(config):
            teacher.require_data(open_data(config))
        digest = teacher.digest()
        known = config.distill.digest
        require(
            known in ("", digest),
            f"distill.teacher is {config.distill.teacher}, whose digest is {digest}, not distill.digest={known}; bring "
            "its weights back, or leave distill.digest out to learn from these",
        )
    members = {name: _with_digest(member, digest) for name, member in experiment.members.items()}
    return replace(experiment, config=_with_digest(config, digest), members=members)


def _recorded_digest(experiment: Experiment) -> str:
    folder = ExperimentFolder(experiment.folder)
    recorded = folder.record().configs.get(SINGLE, {}).get("distill", {}) if folder.exists() else {}
    same = recorded.get("teacher") == experiment.config.distill.teacher
    return str(recorded.get("digest", "")) if same else ""


def _with_digest(config: Config, digest: str) -> Config:
    return replace(config, distill=replace(config.distill, digest=digest))
