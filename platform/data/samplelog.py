"""Which samples each training step used, as text: shows that a resumed run saw what an undisturbed one sees.

`samples/start-NUMBER.rank-RANK-of-WORLD.txt` in the member's folder, one line a step: the step, then the sample ids.
Starts are numbered, so that two from the same step with as many workers have files of their own.
"""

import re
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

import torch

FOLDER = "samples"
NAME = re.compile(r"start-(\d+)\.rank-\d+-of-(\d+)\.txt")


class SampleLog:
    """The log of one worker of start number `start` (see `next_start`); writes nothing unless `wanted`."""

    def __init__(self, folder: Path, start: int, rank: int, world: int, *, wanted: bool) -> None:
        self._path = folder / FOLDER / f"start-{start}.rank-{rank}-of-{world}.txt" if wanted else None
        self._file: TextIO | None = None

    def __enter__(self) -> Self:
        if self._path:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self._path, "w", buffering=1)  # a line is on its way when the step is over
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file:
            self._file.close()

    def add(self, step: int, ids_N: torch.Tensor) -> None:
        """Write the ids of a step's samples, int64 `[N]`."""
        if self._file:
            self._file.write(f"{step} {' '.join(map(str, ids_N.tolist()))}\n")


def next_start(folder: Path) -> int:
    """The number of the next start: one more than the newest that left a log, 1 for the first."""
    return max((number for number, _ in _starts(folder)), default=0) + 1


def read(folder: Path) -> dict[int, list[int]]:
    """Read the logs: step -> sorted sample ids of the global batch, over all ranks.

    A step done twice counts as in its last start. A step that only some ranks of a start have logged was not done:
    gradients were never exchanged.
    """
    steps: dict[int, list[int]] = {}
    for (_, world), files in sorted(_starts(folder).items()):
        steps |= _of_one_start(files, world)
    return dict(sorted(steps.items()))


def _starts(folder: Path) -> dict[tuple[int, int], list[Path]]:
    """(number, workers) of each start -> the files of its ranks."""
    starts: dict[tuple[int, int], list[Path]] = {}
    for path in (folder / FOLDER).glob("start-*.txt"):
        if match := NAME.fullmatch(path.name):
            starts.setdefault((int(match[1]), int(match[2])), []).append(path)
    return starts


def _of_one_start(files: list[Path], world: int) -> dict[int, list[int]]:
    """The steps that all its ranks came to."""
    shares: dict[int, list[list[int]]] = {}
    for path in files:
        for line in path.read_text().splitlines(keepends=True):
            if line.endswith("\n"):  # else torn by a kill
                step, *ids = map(int, line.split())
                shares.setdefault(step, []).append(ids)
    return {step: sorted(chain(*ids)) for step, ids in shares.items() if len(ids) == world}
