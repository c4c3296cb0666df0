"""A member on disk: its state, its weights, and where what belongs to it lies.

In: the member's folder, `members/MEMBER` of an experiment (see `folder` for its files). Out: what is done of it.
"""

import json
import logging
import shutil
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

from platform.evaluation.seal import SEAL, is_complete
from platform.experiment.metric_series import MetricSeries
from platform.experiment.places import suffix_of
from platform.files import write_atomically
from platform.redaction import redacted
from platform.text import first_line

log = logging.getLogger("platform")

FINISHED, FAILED, UNFINISHED = "finished", "failed", "unfinished"


@dataclass
class MemberState:
    """`state.json` of a member, written by its rank 0."""

    state: str = UNFINISHED
    starts: int = 0  # since the last launch, or since one that got further than those before; see `count_start`
    excused: int = 0  # of starts in a row that were not counted, and got no further either
    reached: int = -1  # global step of the newest checkpoint that a start went on from
    nodes: list[str] = field(default_factory=list)  # Ray's ids of those that the newest start was on
    workers: int = 0  # of the newest start
    error: str = ""
    times: dict[str, float] = field(default_factory=dict)  # of the newest start: event -> seconds since the epoch
    device: str = ""  # of the newest start: the GPU's name, or the CPU's


class MemberFolder:
    """One member's files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.weights = path / "weights.pt"
        self.probabilities = self.probabilities_of("val")
        self.scores, self.images = path / "scores.json", path / "images.npz"  # of a sweep's trial, as an experiment has
        self.metrics = MetricSeries(path)

    def is_trained(self) -> bool:
        """Whether the training is finished."""
        return self.weights.exists()

    def remove_checkpoints(self) -> None:
        """Remove the checkpoints of a member that is trained; they stay where the weights' own checksums do not match,
        as the newest one has the same weights."""
        if not self.checkpoints.exists():  # at an earlier launch: reading all weights once more may take minutes
            return
        try:
            with zipfile.ZipFile(self.weights) as weights:
                torn = weights.testzip()
        except Exception as error:  # of the disk, and whatever zipfile and zlib say of damaged bytes
            torn = first_line(error)
        if torn is None:
            shutil.rmtree(self.checkpoints, ignore_errors=True)
        else:
            log.warning("%s is unusable (%s), so the checkpoints beside it stay", self.weights, torn)

    def probabilities_of(self, split: str) -> Path:
        """The folder of a split's probabilities: each split has its own."""
        return self.path / f"probabilities{suffix_of(split)}"

    def whole_images_of(self, split: str) -> Path:
        """The folder of the probabilities of a split's whole images (`evaluation.dense`)."""
        return self.path / f"probabilities-whole{suffix_of(split)}"

    @property
    def networks(self) -> Path:
        """The folder of further networks of the same training, `NAME.pt` (`training.also_average`, `.snapshots`), and
        of their models, `NAME/`."""
        return self.path / "networks"

    def kept_networks(self) -> list[str]:
        """Their names."""
        return sorted(file.stem for file in self.networks.glob("*.pt"))

    def probabilities_of_network(self, name: str, split: str) -> Path:
        """The folder of a split's probabilities by one of these."""
        return self.path / f"probabilities-{name}{suffix_of(split)}"

    def is_finished(self, views: int, split: str = "val") -> bool:
        """Whether it is trained, and evaluated on that split with at least so many views."""
        return self.is_trained() and is_complete(self.probabilities_of(split), views)

    def forget_evaluation(self, split: str = "val") -> None:
        """Make the next launch evaluate the trained weights again."""
        (self.probabilities_of(split) / SEAL).unlink(missing_ok=True)

    def state(self) -> MemberState:
        """Read the state; a new one where there is none, or a torn one."""
        try:
            return MemberState(**json.loads((self.path / "state.json").read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return MemberState()

    def set_state(self, state: MemberState) -> None:
        """Write the state, its error without secrets."""
        self.path.mkdir(parents=True, exist_ok=True)
        state.error = redacted(state.error)
        write_atomically(self.path / "state.json", json.dumps(asdict(state)) + "\n")
