"""The learning curve of a member or trial: a line in `curve.jsonl` of its folder for each evaluation during training.

In: metrics as the training loop reports them. Out: evaluation points in order of steps, each step once, even where a
restart trained steps again.
"""

import json
import math
import statistics
from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = "curve.jsonl"


@dataclass(frozen=True)
class EvaluationPoint:
    """The validation scores at one step, of one view of each image."""

    epoch: float
    step: int  # global optimiser steps
    top1: float  # 0 to 1
    top5: float  # 0 to 1
    loss: float
    images_per_s: float  # median training throughput since the previous evaluation; 0: not measured
    last: bool = False  # at the end of the training
    train_loss: float | None = None  # mean over the steps since the previous evaluation; None: not measured
    wait_share: float | None = None  # of the training time since then that workers waited for data, 0 to 1


OPTIONAL = ("train_loss", "wait_share")  # fields that may be None, as in curves of earlier versions


class CurveWriter:
    """Turns the training loop's metrics into evaluation points, written to disk at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._latest: dict[str, float] = {}  # of every metric; those of training come before those of validation
        self._speeds: list[float] = []  # images/s since the previous evaluation
        self._losses, self._waits = _Mean(), _Mean()  # since the previous evaluation
        self._logged_step = -1  # the newest one
        self.newest: EvaluationPoint | None = None  # written by this writer

    def take(self, step: int, metrics: dict[str, float]) -> None:
        """Note metrics (name -> value) of a step; with `val/top1` among them they make an evaluation point."""
        self._latest |= metrics
        if speed := metrics.get("train/images_per_s"):
            self._speeds.append(speed)
        if "data/wait_share" in metrics:  # a log step
            steps = step - self._logged_step if 0 <= self._logged_step < step else 1  # 1: the first since a start
            self._losses.add(metrics.get("train/loss"), steps)
            self._waits.add(metrics["data/wait_share"], steps)
            self._logged_step = step
        if "val/top1" not in metrics:
            return
        evaluation = EvaluationPoint(
            self._latest["train/epoch"],
            step,
            metrics["val/top1"],
            metrics["val/top5"],
            metrics["val/loss"],
            statistics.median(self._speeds or [0.0]),
            last=self._latest["progress"] >= 1,
            train_loss=self._losses.take(),
            wait_share=self._waits.take(),
        )
        self._speeds.clear()
        append(self._folder, evaluation)
        self.newest = evaluation


class _Mean:
    """A mean over steps, of means over some of them."""

    def __init__(self) -> None:
        self._sum, self._steps = 0.0, 0

    def add(self, mean: float | None, steps: int) -> None:
        """Add the mean of a number of steps; None: there is none."""
        if mean is not None:
            self._sum, self._steps = self._sum + mean * steps, self._steps + steps

    def take(self) -> float | None:
        """The mean of what was added since the last call; None: nothing was."""
        mean = self._sum / self._steps if self._steps else None
        self._sum, self._steps = 0.0, 0
        return mean


def append(folder: Path, evaluation: EvaluationPoint) -> None:
    """Append a point to the curve in `folder`, on a line of its own even where a kill left half a line."""
    with (folder / FILE).open("ab+") as file:
        if size := file.tell():
            file.seek(size - 1)
        whole = file.read() in (b"", b"\n")
        file.write((b"" if whole else b"\n") + json.dumps(asdict(evaluation)).encode() + b"\n")


def read(folder: Path) -> list[EvaluationPoint]:
    """The curve in `folder` in order of steps; empty if there is none. Of a step trained twice the last line counts."""
    try:
        lines = (folder / FILE).read_bytes().splitlines()
    except FileNotFoundError:
        return []
    evaluations: dict[int, EvaluationPoint] = {}
    for line in lines:
        if evaluation := _evaluation(line):
            evaluations[evaluation.step] = evaluation
    return [evaluations[step] for step in sorted(evaluations)]


class CurveReader:
    """The curves of a sweep's trials. Those of running trials are read at every call, all others once.

    Args:
        folder_of: gives a trial's folder by its name.
    """

    def __init__(self, folder_of: Callable[[str], Path]) -> None:
        self._folder_of = folder_of
        self._cached: dict[str, list[EvaluationPoint]] = {}  # of trials that are not running
        self._running: set[str] = set()
        self._unread: dict[str, None] = {}  # trials of which the newest curve was not read yet
        self._at: dict[float, _Standings] = defaultdict(_Standings)  # epoch -> who has reached it

    def __call__(self, name: str) -> list[EvaluationPoint]:
        """The curve of the trial of this name."""
        if name in self._cached:
            return self._cached[name]
        evaluations = read(self._folder_of(name))
        for evaluation in evaluations:
            self._at[evaluation.epoch].put(name, evaluation.top1)
        self._unread.pop(name, None)
        if name not in self._running:
            self._cached[name] = evaluations
        return evaluations

    def add(self, names: Iterable[str]) -> None:
        """Trials that stand among the others, whether or not they run now."""
        self._unread |= dict.fromkeys(names)

    def runs(self, name: str) -> None:
        """From now on the trial's curve grows."""
        self._cached.pop(name, None)
        self._running.add(name)

    def ended(self, name: str) -> None:
        """The trial's curve does not grow any more."""
        if name in self._running:
            self._running.discard(name)
            self._unread[name] = None

    def place_at(self, epoch: float, top1: float) -> tuple[int, int]:
        """(rank of a score at an epoch, from 1; how many trials have reached that epoch). Reads the curves of those
        that run, however many have ended."""
        for name in [*self._running, *self._unread]:
            self(name)
        return self._at[epoch].place(top1)


class _Standings:
    """The top-1 of all trials that have reached an epoch."""

    def __init__(self) -> None:
        self._of: dict[str, float] = {}  # trial -> top-1
        self._rising: list[float] = []  # those that are numbers

    def put(self, name: str, top1: float) -> None:
        """Take a trial's top-1, in the place of an earlier one."""
        before = self._of.get(name)
        if before == top1:
            return
        if before is not None and not math.isnan(before):
            self._rising.pop(bisect_left(self._rising, before))
        self._of[name] = top1
        if not math.isnan(top1):
            insort(self._rising, top1)

    def place(self, top1: float) -> tuple[int, int]:
        """(rank of a top-1, from 1, equal ones alike; how many there are)."""
        better = 0 if math.isnan(top1) else len(self._rising) - bisect_right(self._rising, top1)
        return 1 + better, len(self._of)


def _evaluation(line: bytes) -> EvaluationPoint | None:
    """A line parsed; None if a kill or a disk damaged it."""
    try:
        evaluation = EvaluationPoint(**json.loads(line))
    except (ValueError, TypeError, RecursionError):
        return None
    given = {name: value for name, value in asdict(evaluation).items() if value is not None or name not in OPTIONAL}
    return evaluation if all(isinstance(value, int | float) for value in given.values()) else None
