"""A teacher's probabilities of every training image in one file, from which a training takes those of any images.

In: each member's probabilities, as `probabilities.write_part` left them. Out: `targets.npy` `[N, K]`, float16 natural
logarithms of the members' mean, and `targets.json`, which is written last: of what they are, and their checksum. They
are mapped into memory: no more of them is read than is asked for.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from platform.evaluation.probabilities import MemberProbabilities, take_room
from platform.evaluation.statistics.calibration import LEAST
from platform.files import replacing, write_atomically

FILE, SEAL = "targets.npy", "targets.json"
CHUNK = 4096  # images of which the mean is made at a time


@dataclass(frozen=True)
class TargetsOf:
    """Of what they are."""

    teacher: str  # digest of its weights
    views: int  # crops of each image
    data: str  # digest of the images
    samples: int
    classes: int


def write_targets(folder: Path, members: list[Path], of: TargetsOf, moved: Callable[[], None]) -> None:
    """Write the mean of the members, whole or not at all.

    Args:
        folder: of the targets.
        members: folders of probabilities of all images, of one view: means over the crops.
        of: of what they are.
        moved: is called again and again meanwhile.

    Raises:
        OSError: the disk has no room for it.
        ValueError: members are of other images or classes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    opened = [MemberProbabilities(member) for member in members]
    if any((each.samples, each.classes) != (of.samples, of.classes) for each in opened):
        raise ValueError(f"{folder}: a member's probabilities are not of {of.samples} images and {of.classes} classes")
    with replacing(folder / FILE) as unfinished:
        logs_NK = np.lib.format.open_memmap(unfinished, "w+", np.dtype(np.float16), (of.samples, of.classes))
        take_room(unfinished)
        for start in range(0, of.samples, CHUNK):
            stop = min(start + CHUNK, of.samples)
            mean_NK = torch.stack([each.read(start, stop)[:, 0] for each in opened]).mean(0)
            logs_NK[start:stop] = mean_NK.clamp_min(LEAST).log().numpy()
            moved()
        logs_NK.flush()
    content = asdict(of) | {"sha256": _checksum(folder / FILE, moved)}
    write_atomically(folder / SEAL, json.dumps(content) + "\n")


def are_whole(folder: Path, of: TargetsOf, moved: Callable[[], None] = lambda: None) -> bool:
    """Whether the folder has these targets, to the last bit; reads all of them."""
    try:
        content: dict[str, Any] = json.loads((folder / SEAL).read_text())
        checksum = content.pop("sha256")
        return content == asdict(of) and checksum == _checksum(folder / FILE, moved)
    except (OSError, ValueError, KeyError, AttributeError):
        return False


class Targets:
    """Reads what `write_targets` left."""

    def __init__(self, folder: Path) -> None:
        self._logs_NK: NDArray[np.float16] = np.load(folder / FILE, mmap_mode="r", allow_pickle=False)

    def rows(self, ids_N: Tensor) -> Tensor:
        """Natural logarithms of the teacher's probabilities of these images: float16 `[N, K]`, on the host; in
        page-locked memory where there is a GPU to copy to.

        Args:
            ids_N: int64, places in the index.
        """
        found = torch.from_numpy(self._logs_NK[ids_N.numpy()])
        return found.pin_memory() if torch.cuda.is_available() else found


def _checksum(path: Path, moved: Callable[[], None]) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 24):
            found.update(block)
            moved()
    return found.hexdigest()
