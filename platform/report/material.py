"""What a report is made of, read from an experiment's folder and its shards.

In: an experiment and its folder. Out: curves, attempts, predictions of every image, the index; what is not there any
more is an `Absent` when it is asked for.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from platform.config.experiment import Experiment
from platform.config.sections import Config
from platform.data.cache import ShardError
from platform.data.index import Index, Split, read_index
from platform.data.sets import TRAIN, read_sets, training_split
from platform.data.store_errors import StorageError
from platform.evaluation.images import ImageResults, read_images
from platform.evaluation.table import EnsembleScores
from platform.experiment.folder import ExperimentFolder
from platform.experiment.goodput import Attempt, read_attempts
from platform.report.budget import Series
from platform.report.colours import Lines, lines_of
from platform.report.section import Absent
from platform.text import first_line
from platform.training import learning_curve
from platform.training.learning_curve import EvaluationPoint


@dataclass(frozen=True)
class Material:
    """An experiment with all that is known of it."""

    experiment: Experiment
    folder: ExperimentFolder
    scores: EnsembleScores | None  # None: no member is finished
    split: str = "val"  # that was evaluated

    @property
    def members(self) -> Mapping[str, Config]:
        return self.experiment.members

    @property
    def known_scores(self) -> EnsembleScores:
        """The scores.

        Raises:
            Absent: there are none.
        """
        if self.scores is None:
            raise Absent("no member is finished")
        return self.scores

    @property
    def batch_sizes(self) -> dict[str, int]:
        """Member -> images in a global batch."""
        return {name: config.training.batch_size for name, config in self.members.items()}

    @functools.cached_property
    def lines(self) -> Lines:
        """How members are drawn."""
        return lines_of(self.members)

    @functools.cached_property
    def images(self) -> ImageResults:
        """What was said of each image, at the largest number of views.

        Raises:
            Absent: no member is finished, or an earlier version evaluated them.
            ConfigError: the file is damaged.
        """
        found = self.known_scores.images or read_images(self.folder.images(self.split))
        if found is None:
            raise Absent("what was said of each image was not kept; the same command with job=evaluate keeps it")
        return found

    @property
    def best_row(self) -> str | None:
        """Where the members are rows that are compared, a member of the best one; None: they are an ensemble."""
        compared = self.known_scores.compared
        return compared.best.members[0] if compared else None

    @property
    def shown(self) -> int:
        """Place in `images` of the classifier that one looks at closely: the ensemble, or the best row."""
        return self.images.names.index(self.best_row) if self.best_row else self.images.ensemble

    @functools.cached_property
    def curves(self) -> dict[str, list[EvaluationPoint]]:
        """Member -> its evaluations during training."""
        return {name: learning_curve.read(self._path(name)) for name in self.members}

    @property
    def series(self) -> dict[str, Series]:
        """Member -> the metrics of its log steps, which may be large."""
        return {name: self.folder.member(name).metrics.read() for name in self.members}

    @functools.cached_property
    def attempts(self) -> dict[str, Sequence[Attempt]]:
        """Member -> its attempts."""
        return {name: read_attempts(self._path(name)) for name in self.members}

    @functools.cached_property
    def errors(self) -> dict[str, str]:
        """Member that is not finished -> what it met."""
        finished = self.scores.names if self.scores else []
        return {
            name: self.folder.member(name).state().error or "it is not finished"
            for name in self.members
            if name not in finished
        }

    @functools.cached_property
    def _index(self) -> Index | str:
        """The index, or why there is none."""
        config = self.experiment.config
        try:
            return read_index(config.data.shards, config.storage, ask_all=False)
        except (ShardError, StorageError, OSError) as error:
            return first_line(error)

    @functools.cached_property
    def _sets(self) -> Index | str:
        """The same with the further sets that were trained on beside it, which scores and mistakes do without."""
        config = self.experiment.config
        if not config.data.also or isinstance(self._index, str):
            return self._index
        try:
            return read_sets(config.data, config.storage, ask_all=False)
        except (ShardError, StorageError, OSError) as error:
            return first_line(error)

    def images_of(self, split: str) -> Split:
        """The images of a split; to train on, those of all sets.

        Raises:
            Absent: the shards are not there any more.
        """
        index = self._sets if split == TRAIN else self._index
        if isinstance(index, str):
            raise Absent(f"the shards cannot be read ({index})")
        return training_split(index, self.experiment.config.data) if split == TRAIN else index.split(split)

    @property
    def classes(self) -> list[str]:
        """Names of the classes, or their numbers where nobody named them."""
        named = [] if isinstance(self._index, str) else self._index.classes
        return named or [str(number) for number in range(self.experiment.config.data.classes)]

    @property
    def data(self) -> str:
        """What the images are, in a line."""
        if isinstance(self._index, str):
            return f"{self.experiment.config.data.shards}, which cannot be read any more"
        counts = ", ".join(f"{split.samples:,} {name} (digest {split.digest})" for name, split in self._splits())
        return "; ".join([f"{self.experiment.config.data.shards}: {counts}", *self._also()])

    def _also(self) -> list[str]:
        """The further sets that were trained on."""
        said = []
        for name, also in self.experiment.config.data.others.items():
            if isinstance(self._sets, str):
                images = "which cannot be read any more"
            else:
                split = self._sets.also[name].split(TRAIN)
                images = f"{split.samples:,} train (digest {split.digest})"
            said.append(f"{100 * also.weight:g}% of the training from {name}, {also.shards}: {images}")
        return said

    def _splits(self) -> list[tuple[str, Split]]:
        return [] if isinstance(self._index, str) else list(self._index.splits.items())

    def _path(self, name: str) -> Path:
        return self.folder.member(name).path
