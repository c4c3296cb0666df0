"""A member's probabilities on disk: one part for each worker that evaluated, each sample in exactly one part.

float16 has no numbers below 6e-8, and probabilities of a thousand classes are often smaller: their logarithms are kept
instead, which `log` in the part's labels file says. Parts without it, of earlier versions, hold probabilities. Those
have the 144 views in another order, too: `order` in the seal says which.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from platform.evaluation.predict import Predictions
from platform.evaluation.seal import SEAL
from platform.evaluation.views import BEFORE_12
from platform.files import write_atomically

ORDER = 2  # of the views in a set


def write_part(
    folder: Path, rank: int, share: range, views: int, classes: int, dtype: str, predictions: Iterator[Predictions]
) -> None:
    """Write one worker's share as `part-RANK.npy` `[N, V, K]` (memory-mapped: no more than a batch in memory), float32
    as they are, float16 as their natural logarithms.

    Args:
        folder: of the member's probabilities, for this split.
        rank: the part's number.
        share: ids of the samples.
        views: V.
        classes: K.
        dtype: float32 or float16.
        predictions: of every sample of the share, in any order.

    Raises:
        OSError: the disk has no room for it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SEAL).unlink(missing_ok=True)  # of an earlier evaluation
    probs = np.lib.format.open_memmap(
        folder / f"part-{rank:04d}.npy", mode="w+", dtype=np.dtype(dtype), shape=(len(share), views, classes)
    )
    take_room(folder / f"part-{rank:04d}.npy")
    logarithms = dtype == "float16"
    labels, valid = np.full(len(share), -1, np.int64), np.zeros(len(share), np.bool_)
    for some in predictions:
        place = some.ids_N - share.start
        probs[place] = (some.probs_NVK.log() if logarithms else some.probs_NVK).numpy()
        labels[place], valid[place] = some.labels_N, some.valid_N
    probs.flush()
    np.savez(
        folder / f"part-{rank:04d}-labels.npz", first=share.start, labels=labels, valid=valid, log=np.bool_(logarithms)
    )


def take_room(path: Path) -> None:
    """Have the file's blocks now: on a full disk, writing to a mapped hole ends the process with a bus error."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def seal(folder: Path, samples: int, views: int, parts: int) -> None:
    """Check that the parts are every sample once, then mark the set complete.

    Args:
        folder: of the parts.
        samples: of the split.
        views: of each sample.
        parts: how many there are.

    Raises:
        ValueError: samples missing or doubled.
    """
    stop = 0
    for rank in range(parts):
        path = folder / f"part-{rank:04d}-labels.npz"
        if not path.exists():
            raise ValueError(f"part {rank} of {parts} is missing in {folder}; evaluate again")
        with np.load(path) as part:
            if int(part["first"]) != stop:
                raise ValueError(f"part {rank} in {folder} starts at sample {int(part['first'])}, not {stop}")
            stop += len(part["labels"])
    if stop != samples:
        raise ValueError(f"{folder} holds {stop} samples, the split {samples}; evaluate again")
    content = {"samples": samples, "views": views, "parts": parts, "order": ORDER}
    write_atomically(folder / SEAL, json.dumps(content) + "\n")


class MemberProbabilities:
    """Reads what `write_part` and `seal` left. `views`, `classes` and `samples` describe it."""

    def __init__(self, folder: Path) -> None:
        seal_content = json.loads((folder / SEAL).read_text())
        self.samples = int(seal_content["samples"])
        self._parts: list[tuple[NDArray[np.floating[Any]], bool]] = []  # and whether it holds logarithms
        labels, valid = [], []
        for rank in range(seal_content["parts"]):
            probs = np.load(folder / f"part-{rank:04d}.npy", mmap_mode="r", allow_pickle=False)
            with np.load(folder / f"part-{rank:04d}-labels.npz", allow_pickle=False) as part:
                labels.append(part["labels"])
                valid.append(part["valid"])
                self._parts.append((probs, "log" in part and bool(part["log"])))
        self.labels_N = torch.from_numpy(np.concatenate(labels))
        self.valid_N = torch.from_numpy(np.concatenate(valid))
        self.views, self.classes = self._parts[0][0].shape[1:]
        is_older = "order" not in seal_content and self.views == len(BEFORE_12)
        self._places: list[int] | slice = BEFORE_12 if is_older else slice(None)

    def means(self, views: int, chunk: int = 1024) -> Tensor:
        """`[N, K]` float32: of every sample the mean of the first `views` views; reads `chunk` samples at a time."""
        means_NK = torch.empty(self.samples, self.classes)
        for start in range(0, self.samples, chunk):
            stop = min(start + chunk, self.samples)
            means_NK[start:stop] = self.read(start, stop)[:, :views].mean(1)
        return means_NK

    def read(self, start: int, stop: int) -> Tensor:
        """`[stop - start, V, K]` float32, the views in the order of `platform.evaluation.views`."""
        pieces, first = [], 0
        for part, logarithms in self._parts:
            low, high = max(start - first, 0), min(stop - first, len(part))
            if low < high:
                values = torch.from_numpy(part[low:high].astype(np.float32))[:, self._places]
                pieces.append(values.exp_() if logarithms else values)
            first += len(part)
        return torch.cat(pieces)
