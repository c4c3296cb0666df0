"""The learning curve of a member or trial: one line in `curve.jsonl` of its folder for each evaluation while training.

In: what the training reports. Out: the curve, each evaluation once, whatever restarts repeated.
"""

import json
import statistics
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


def _moment(line: bytes) -> Moment | None:
    """None: torn by a kill, or by a disk."""
    try:
        moment = Moment(**json.loads(line))
    except (ValueError, TypeError, RecursionError):
        return None
    return moment if all(isinstance(value, int | float) for value in asdict(moment).values()) else None
