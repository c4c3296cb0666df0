"""The model that classifies: which folder `predict.model` names, and what that says, before PyTorch is imported.

In: the setting and the experiment. Out: a folder that is there, with its description.
"""

import contextlib
import hashlib
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from platform.cluster.submission import database_file
from platform.config.checks import ConfigError, require
from platform.config.experiment import Experiment
from platform.data.urls import is_remote
from platform.experiment.folder import ExperimentFolder
from platform.experiment.recorded import recorded_in
from platform.export.description import Description, artifacts_of
from platform.text import first_line
from platform.tracking.sqlite_store import require_there
from platform.tracking.tracker import require_answer

MLFLOWS = re.compile(r"models:/[^/@]+(@[^/@]+|/[^/@]+)?|runs:/[0-9a-f]+/.+")
FORMS = "runs/NAME, runs/NAME/MEMBER, a model's folder, or models:/NAME@ALIAS, models:/NAME/VERSION of MLflow"


@dataclass(frozen=True)
class Model:
    """A model's folder on this machine."""

    name: str  # for people
    folder: Path
    description: Description

    @property
    def title(self) -> str:
        """For those who should not see paths of this machine: the experiment, or the last part of the name."""
        return self.description.experiment or self.name.rstrip("/").rpartition("/")[2]

    def digest(self) -> str:
        """16 hexadecimal digits of everything that the probabilities depend on: the description and the programs."""
        found = hashlib.sha256()
        place = artifacts_of(self.folder)
        for path in [place / "classifier.json", *(place / f"{name}.pt2" for name in self.description.members)]:
            with open(path, "rb") as file:
                found.update(hashlib.file_digest(file, "sha256").digest())
        return found.hexdigest()[:16]


@contextlib.contextmanager
def open_model(key: str, given: str | None, experiment: Experiment) -> Iterator[Model]:
    """The model of a setting; one of MLflow is fetched for the time of the block.

    Args:
        key: of the setting, for messages.
        given: its value; None: the model of the experiment.
        experiment: whose folder and tracking are used.

    Raises:
        ConfigError: there is none, or it is not finished.
    """
    if given is None:
        folder = experiment.folder
        require(
            ExperimentFolder(folder).exists() or (folder / "model").is_dir(),
            f"there is no run in {folder}; train it first with the same command without job={experiment.config.job}, "
            f"or give {key}={FORMS}",
        )
        yield _in_folder(key, folder, experiment.name)
    elif given.startswith(("models:", "runs:")):
        require(bool(MLFLOWS.fullmatch(given)), f"{key} is {given!r}; give {FORMS}")
        with fetched(key, given, experiment) as folder:
            yield _in_folder(key, folder, given)
    else:
        require(not is_remote(given), f"{key} is {given}, and models are not read from URLs; give {FORMS}")
        folder = folder_of(Path(given).expanduser(), Path(experiment.config.output_dir))
        require(folder is not None, f"{key} is {given}, which is no folder; give {FORMS}")
        assert folder is not None
        yield _in_folder(key, folder, given)


def folder_of(given: Path, output_dir: Path) -> Path | None:
    """The folder that is meant, written as for the jobs that read runs: NAME alone is one in `output_dir`, and a member
    or trial is behind its experiment.

    Args:
        given: a folder; runs/NAME, NAME, runs/NAME/MEMBER or NAME/MEMBER.
        output_dir: where experiments are.
    """
    for path in (given, output_dir / given):
        for folder in (path, path.parent / "members" / path.name):
            if folder.is_dir():
                return folder.absolute()
    return None


def _in_folder(key: str, folder: Path, name: str) -> Model:
    """The model in a run's folder, a member's folder, or the folder itself."""
    place = folder / "model" if (folder / "model").is_dir() else folder
    has_model = (artifacts_of(place) / "classifier.json").exists()
    if not has_model and ExperimentFolder(folder).exists():
        _require_no_table(folder)
        raise ConfigError(
            f"{folder} has no model yet: its run is not finished; let it finish with the command that began it, or "
            f"give {key}={folder}/MEMBER of a member that is"
        )
    if not has_model and folder.parent.name == "members" and ExperimentFolder(folder.parent.parent).exists():
        raise ConfigError(
            f"{key}: {folder} has no model; let its run finish with the command that began it and export.models=true "
            f"(of a sweep the best trial has one: promote others), or give {FORMS}"
        )
    require(has_model, f"{key}: {folder} holds no model; give {FORMS}")
    try:
        return Model(name, place, Description.read(place))
    except ValueError as error:
        raise ConfigError(f"{key}: {first_line(error)}") from error


def _require_no_table(folder: Path) -> None:
    try:
        then = recorded_in(str(folder), folder.parent)
    except ConfigError:  # damaged, or a sweep
        return
    then.require_one(str(folder))


@contextlib.contextmanager
def fetched(key: str, address: str, experiment: Experiment) -> Iterator[Path]:
    """A copy of a model of MLflow for the time of the block, in the output folder, which all machines of a cluster see.

    Args:
        key: of the setting that names it, for messages.
        address: models:/NAME@ALIAS, models:/NAME/VERSION, models:/ID or runs:/ID/PATH.
        experiment: whose tracking and output folder are used.

    Raises:
        ConfigError: there is none, or no MLflow.
    """
    tracking = experiment.config.tracking
    require_there(tracking, f"{key} is {address}")
    if database_file(tracking.uri) is None:
        require_answer(tracking)  # MLflow itself would try for minutes
    from platform.tracking.mlflow_downloads import download_model

    parent = Path(experiment.config.output_dir)
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".model-", dir=parent) as folder:
            yield download_model(key, address, tracking, Path(folder))
    except OSError as error:
        raise ConfigError(
            f"{key}: {parent} cannot be written to ({error.strerror}); give another output_dir"
        ) from error
