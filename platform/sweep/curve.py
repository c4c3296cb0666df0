"""The learning curve of a trial: one line in `curve.jsonl` of its folder for each evaluation while training.

In: scores at the end of each epoch. Out: the curve, each epoch once, whatever restarts repeated.
"""

import json
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


def append(folder: Path, moment: Moment) -> None:
    with (folder / FILE).open("a") as file:
        file.write(json.dumps(asdict(moment)) + "\n")


def read(folder: Path) -> list[Moment]:
    """In order of steps; of a step that was trained again after a restart, the newest line."""
    try:
        lines = (folder / FILE).read_text().splitlines()
    except FileNotFoundError:
        return []
    moments: dict[int, Moment] = {}
    for line in lines:
        try:
            moment = Moment(**json.loads(line))
        except (ValueError, TypeError):  # torn by a kill
            continue
        moments[moment.step] = moment
    return [moments[step] for step in sorted(moments)]
