"""Which samples each training step used, as text: the proof that a resumed run saw what an undisturbed one sees.

`samples/rank-RANK-of-WORLD.from-STEP.txt` in the member's folder, one line a step: the step, then the sample ids.
"""

import re
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

import torch

FOLDER = "samples"


class SampleLog:
    """The log of one worker from one start on; does nothing where it is not wanted."""

    def __init__(self, folder: Path, start: int, rank: int, world: int, *, wanted: bool) -> None:
        self._path = folder / FOLDER / f"rank-{rank}-of-{world}.from-{start}.txt" if wanted else None
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
        if self._file:
            self._file.write(f"{step} {' '.join(map(str, ids_N.tolist()))}\n")


def read(folder: Path) -> dict[int, list[int]]:
    """Step -> sorted sample ids of the global batch, over all ranks; of a step done twice, those of the last start."""
    starts: dict[tuple[str, str], list[Path]] = {}  # (workers, first step) -> the files of its ranks
    for path in (folder / FOLDER).glob("rank-*.txt"):
        if match := re.fullmatch(r"rank-\d+-of-(\d+)\.from-(\d+)\.txt", path.name):
            starts.setdefault((match[1], match[2]), []).append(path)
    steps: dict[int, list[int]] = {}
    for files in sorted(starts.values(), key=lambda files: max(path.stat().st_mtime_ns for path in files)):
        steps.update(_of_one_start(files))
    return dict(sorted(steps.items()))


def _of_one_start(files: list[Path]) -> dict[int, list[int]]:
    steps: dict[int, list[int]] = {}
    for path in files:
        for line in path.read_text().splitlines(keepends=True):
            if line.endswith("\n"):  # else torn by a kill
                step, *ids = map(int, line.split())
                steps[step] = sorted(steps.get(step, []) + ids)
    return steps
