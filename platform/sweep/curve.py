"""The learning curve of a member or trial: one line in `curve.jsonl` of its folder for each evaluation while training.

In: what the training reports. Out: the curve, each evaluation once, whatever restarts repeated.
"""

import json
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = "curve.jsonl"


@dataclass(frozen=True)
class Moment:
    """The validation scores (one view) after so many epochs."""

    epoch: float
    step: int
    top1: float  # shares, 0 to 1
    top5: float
    loss: float
    images_per_s: float  # of training since the moment before
    last: bool = False  # the end of the training


class CurveWriter:
    """Turns reports of the training into moments, on disk at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._reading: dict[str, float] = {}  # the newest figures of training, which come before those of validation
        self._speeds: list[float] = []  # since the moment before
        self.newest: Moment | None = None  # of this writer

    def take(self, step: int, metrics: dict[str, float]) -> None:
        self._reading |= metrics
        if speed := metrics.get("train/images_per_s"):
            self._speeds.append(speed)
        if "val/top1" not in metrics:
            return
        reading = self._reading
        moment = Moment(
            reading["train/epoch"],
            step,
            metrics["val/top1"],
            metrics["val/top5"],
            metrics["val/loss"],
            statistics.median(self._speeds or [0.0]),
            last=reading["progress"] >= 1,
        )
        self._speeds.clear()
        append(self._folder, moment)
        self.newest = moment


def append(folder: Path, moment: Moment) -> None:
    """A line of its own, even where a kill left half a line."""
    with (folder / FILE).open("ab+") as file:
        if size := file.tell():
            file.seek(size - 1)
        whole = file.read() in (b"", b"\n")
        file.write((b"" if whole else b"\n") + json.dumps(asdict(moment)).encode() + b"\n")


def read(folder: Path) -> list[Moment]:
    """In order of steps; of a step that was trained again after a restart, the newest line."""
    try:
        lines = (folder / FILE).read_bytes().splitlines()
    except FileNotFoundError:
        return []
    moments: dict[int, Moment] = {}
    for line in lines:
        if moment := _moment(line):
            moments[moment.step] = moment
    return [moments[step] for step in sorted(moments)]


class CurveReader:
    """The curves of a sweep's trials: those of trials that run now are read each time, all others once.

    Args:
        folder_of: a trial's name -> its folder.
    """

    def __init__(self, folder_of: Callable[[str], Path]) -> None:
        self._folder_of = folder_of
        self._still: dict[str, list[Moment]] = {}  # of trials that do not run
        self._running: set[str] = set()
        self._top1: dict[float, dict[str, float]] = defaultdict(dict)  # epoch -> trial -> its score then

    def __call__(self, name: str) -> list[Moment]:
        if name in self._still:
            return self._still[name]
        moments = read(self._folder_of(name))
        for moment in moments:
            self._top1[moment.epoch][name] = moment.top1
        if name not in self._running:
            self._still[name] = moments
        return moments

    def runs(self, name: str) -> None:
        """Its curve grows from now on."""
        self._still.pop(name, None)
        self._running.add(name)

    def ended(self, name: str) -> None:
        self._running.discard(name)

    def top1_at(self, epoch: float, names: Iterable[str]) -> list[float]:
        """What those of the trials scored that have come so far."""
        for name in names:
            self(name)
        return list(self._top1[epoch].values())


def _moment(line: bytes) -> Moment | None:
    """None: torn by a kill, or by a disk."""
    try:
        moment = Moment(**json.loads(line))
    except (ValueError, TypeError, RecursionError):
        return None
    return moment if all(isinstance(value, int | float) for value in asdict(moment).values()) else None
