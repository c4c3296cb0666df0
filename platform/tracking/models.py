"""The models of an experiment in MLflow: each member's on its run, the ensemble's on the parent.

In: model folders and final scores. Out: entries of the tracking journal. A folder that is in the journal already is not
uploaded again; new scores of it are added.
"""

from pathlib import Path

from platform.config.sections import Config
from platform.data.index import Index
from platform.evaluation import report
from platform.evaluation.table import EnsembleScores
from platform.experiment.folder import ExperimentFolder, Record
from platform.export.description import Description
from platform.export.folder import MODEL
from platform.tracking.figures import datasets
from platform.tracking.journal import Journal
from platform.tracking.operations import DatasetInput
from platform.tracking.tracker import Tracker, model_key

ENSEMBLE = ""  # in the record
WEIGHTS = ".safetensors"  # of members, in their own models: the ensemble's would hold them once more
NOT_IN_NAMES = str.maketrans(dict.fromkeys("/:.%\"'", "-"))  # MLflow's rule for names of models


class ModelLog:
    """Puts models into the tracking journal, and notes in the record which are there."""

    def __init__(
        self, tracker: Tracker, folder: ExperimentFolder, record: Record, dataset: DatasetInput | None
    ) -> None:
        """Of an experiment.

        Args:
            tracker: of the experiment.
            folder: where the models are.
            record: is changed, and not written here.
            dataset: the images that were scored; None: not known.
        """
        self._tracker, self._folder, self._record, self._dataset = tracker, folder, record, dataset

    def member(self, name: str, metrics: dict[str, float]) -> None:
        """Log a member's model, if it has one, and its final metrics."""
        self._log(name, self._record.member_runs[name], metrics)

    def ensemble(self, members: list[str], metrics: dict[str, float]) -> None:
        """Log the model of all members together. That of a single member is the member's own."""
        parent = self._record.parent_run
        assert parent
        if len(members) > 1:
            self._log(ENSEMBLE, parent, metrics)
        elif (key := self._record.models.get(members[0])) and self._record.member_runs[members[0]] != parent:
            self._tracker.model_output(parent, key, metrics, self._dataset)

    def _log(self, name: str, run: str, metrics: dict[str, float]) -> None:
        place = place_of(self._folder, name)
        if is_new(self._folder, self._record, name):
            tags = {"kind": "member" if name else "ensemble", **Description.read(place).metadata()}
            shown = "-".join([self._folder.name, *([name] if name else [])]).translate(NOT_IN_NAMES)
            leave_out, weights = ("", self._folder.member(name).weights) if name else (WEIGHTS, None)
            self._record.models[name] = self._tracker.model(
                run, shown, place, tags, metrics, self._dataset, leave_out=leave_out, weights=weights
            )
        elif key := self._record.models.get(name):
            self._tracker.model_output(run, key, metrics, self._dataset)


def place_of(folder: ExperimentFolder, name: str) -> Path:
    """The model folder of a member, or of all together."""
    return (folder.member(name).path if name else folder.path) / MODEL


def is_new(folder: ExperimentFolder, record: Record, name: str) -> bool:
    """Whether there is a model that is not in the journal."""
    place = place_of(folder, name)
    return (place / "MLmodel").exists() and record.models.get(name) != model_key(place)


def log_missing(
    config: Config, folder: ExperimentFolder, record: Record, scores: EnsembleScores, data: Index
) -> int | None:
    """Deliver models of a finished experiment that were made after it was reported.

    Args:
        config: of the experiment.
        folder: its folder.
        record: its record; is written if there were any.
        scores: of its finished members.
        data: the data set.

    Returns:
        entries still queued in the journal; None: no model was missing.
    """
    names = [name for name in scores.names if is_new(folder, record, name)]
    several = len(scores.names) > 1
    if not names and not (several and is_new(folder, record, ENSEMBLE)):
        return None
    split, tracker = config.evaluation.split, Tracker(config.tracking, Journal(folder.tracking))
    models = ModelLog(tracker, folder, record, datasets(config, data, split)[-1])
    for name in names:
        models.member(name, report.final_metrics(scores, name, split))
    models.ensemble(scores.names, report.final_metrics(scores, None, split))
    folder.write(record)
    return tracker.close()
