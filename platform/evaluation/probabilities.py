"""A member's probabilities on disk: one part for each worker that evaluated, each sample in exactly one part.

float16 has no numbers below 6e-8, and probabilities of a thousand classes are often smaller: their logarithms are kept
instead, which `log` in the part's labels file says. Parts without it, of earlier versions, hold probabilities. Those
have the 144 views in another order, too: `order` in the seal says which. What is kept of the views is `Stored`'s; the
seal says it where it is not all of them.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from platform.config.evaluation import ALL
from platform.evaluation.predict import Predictions
from platform.evaluation.seal import SEAL
from platform.evaluation.stored import Stored, class_dtype
from platform.evaluation.views import BEFORE_12
from platform.files import write_atomically

ORDER = 2  # of the views in a set
EVERYTHING = Stored()
IN_MEMORY = 2**28  # bytes of a block that a mean is taken of


def write_part(
    folder: Path,
    rank: int,
    share: range,
    views: int,
    classes: int,
    dtype: str,
    predictions: Iterator[Predictions],
    stored: Stored = EVERYTHING,
) -> None:
    """Write one worker's share as `part-RANK.npy` `[N, V, K]` (memory-mapped: no more than a batch in memory), float32
    as they are, float16 as their natural logarithms. What is not all of it is `[N, planes, values]`, and the classes of
    the largest are `part-RANK-classes.npy`.

    Args:
        folder: of the member's probabilities, for this split.
        rank: the part's number.
        share: ids of the samples.
        views: V.
        classes: K.
        dtype: float32 or float16.
        predictions: of every sample of the share, in any order.
        stored: what of them.

    Raises:
        OSError: the disk has no room for it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SEAL).unlink(missing_ok=True)  # of an earlier evaluation
    planes = stored.planes(views)
    probs = _mapped(folder / f"part-{rank:04d}.npy", np.dtype(dtype), (len(share), planes, stored.values(classes)))
    numbers_file = folder / f"part-{rank:04d}-classes.npy"
    numbers_file.unlink(missing_ok=True)
    numbers = _mapped(numbers_file, class_dtype(classes), (len(share), planes, stored.top)) if stored.top else None
    logarithms = dtype == "float16"
    labels, valid = np.full(len(share), -1, np.int64), np.zeros(len(share), np.bool_)
    for some in predictions:
        place = some.ids_N - share.start
        values = stored.reduced(some.probs_NVK)
        if numbers is not None:
            values, classes_NPT = stored.largest_of(values, torch.from_numpy(some.labels_N))
            numbers[place] = classes_NPT.numpy()
        probs[place] = (values.log() if logarithms else values).numpy()
        labels[place], valid[place] = some.labels_N, some.valid_N
    for written in (probs, numbers):
        if written is not None:
            written.flush()
    told = folder / f"part-{rank:04d}-labels.npz"
    np.savez(told, first=share.start, labels=labels, valid=valid, log=np.bool_(logarithms), classes=classes)


def _mapped(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.memmap[Any, Any]:
    found = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    take_room(path)
    return found


def take_room(path: Path) -> None:
    """Have the file's blocks now: on a full disk, writing to a mapped hole ends the process with a bus error."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def seal(folder: Path, samples: int, views: int, parts: int, stored: Stored = EVERYTHING) -> None:
    """Check that the parts are every sample once, then mark the set complete.

    Args:
        folder: of the parts.
        samples: of the split.
        views: of each sample.
        parts: how many there are.
        stored: what of the views.

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
    content = {"samples": samples, "views": views, "parts": parts, "order": ORDER} | stored.for_seal()
    write_atomically(folder / SEAL, json.dumps(content) + "\n")


@dataclass(frozen=True)
class _Part:
    """One worker's share, mapped into memory."""

    values: NDArray[np.floating[Any]]  # [N, planes, values]
    logarithms: bool
    numbers: NDArray[np.integer[Any]] | None  # [N, planes, top]; None: the values are of all classes

    def read(self, low: int, high: int, planes: int | None) -> Tensor:
        """The values of some samples in their first planes, float32."""
        found = torch.from_numpy(self.values[low:high, :planes].astype(np.float32))
        return found.exp_() if self.logarithms else found


class MemberProbabilities:
    """Reads what `write_part` and `seal` left in `folder`. `views`, `classes`, `samples` and `bytes` describe it,
    `stored` what is kept of the views."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        seal_content = json.loads((folder / SEAL).read_text())
        self.samples, self.stored = int(seal_content["samples"]), Stored.of_seal(seal_content)
        self._parts: list[_Part] = []
        labels, valid, self.classes = [], [], 0
        for rank in range(seal_content["parts"]):
            values = np.load(folder / f"part-{rank:04d}.npy", mmap_mode="r", allow_pickle=False)
            numbers_file = folder / f"part-{rank:04d}-classes.npy"
            numbers = np.load(numbers_file, mmap_mode="r", allow_pickle=False) if self.stored.top else None
            with np.load(folder / f"part-{rank:04d}-labels.npz", allow_pickle=False) as part:
                labels.append(part["labels"])
                valid.append(part["valid"])
                self._parts.append(_Part(values, "log" in part and bool(part["log"]), numbers))
                self.classes = int(part["classes"]) if self.stored.top else values.shape[2]
        self.bytes = sum(part.values.nbytes for part in self._parts)  # on disk
        self.labels_N = torch.from_numpy(np.concatenate(labels))
        self.valid_N = torch.from_numpy(np.concatenate(valid))
        self.has_every_view = self.stored.keep == ALL
        self.views = self._parts[0].values.shape[1] if self.has_every_view else int(seal_content["views"])
        is_older = "order" not in seal_content and self.views == len(BEFORE_12)
        self._places: list[int] | slice = BEFORE_12 if is_older else slice(None)

    def require(self, view_counts: list[int]) -> None:
        """Whether there are means over so many views.

        Raises:
            ValueError: there are not.
        """
        if lacking := self.stored.lacking(view_counts, self.views):
            had = f"with {self.views} views"
            if not self.has_every_view:
                had = f"with evaluation.keep={self.stored.keep} and views {[*self.stored.view_counts]}"
            raise ValueError(f"it was evaluated {had}, and {lacking} are asked for")

    def means(self, views: int) -> Tensor:
        """`[N, K]` float32: of every sample the mean of the first `views` views; reads no more than these, in blocks.

        Raises:
            ValueError: of so many views there is no mean.
        """
        means_NK = torch.empty(self.samples, self.classes)
        planes = views if self.has_every_view else self.stored.planes(views)
        chunk = max(1, min(1024, IN_MEMORY // (4 * planes * self.classes)))
        for start in range(0, self.samples, chunk):
            stop = min(start + chunk, self.samples)
            means_NK[start:stop] = self._mean(start, stop, views)
        return means_NK

    def _mean(self, start: int, stop: int, views: int) -> Tensor:
        self.require([views])
        if self.has_every_view:
            return self.read(start, stop, views).mean(1)
        return self._read(start, stop)[:, self.stored.view_counts.index(views)]

    def read(self, start: int, stop: int, views: int | None = None) -> Tensor:
        """`[stop - start, V, K]` float32, the views in the order of `platform.evaluation.views`.

        Args:
            start: number of the first sample.
            stop: and of the first that is not read.
            views: V; None: all.

        Raises:
            ValueError: not every view was kept.
        """
        if not self.has_every_view:
            raise ValueError(f"only means over views were kept (evaluation.keep={self.stored.keep})")
        return self._read(start, stop, views)

    def planes(self, start: int, stop: int) -> tuple[dict[int, Tensor], Tensor]:
        """(number of views -> mean, largest over all views) of some samples, each `[stop - start, K]`: all that is kept
        where not every view is."""
        found = self._read(start, stop)
        return dict(zip(self.stored.view_counts, found.unbind(1), strict=False)), found[:, -1]

    def _read(self, start: int, stop: int, planes: int | None = None) -> Tensor:
        pieces, first = [], 0
        in_order = isinstance(self._places, slice)
        for part in self._parts:
            low, high = max(start - first, 0), min(stop - first, len(part.values))
            if low < high:
                values = part.read(low, high, planes if in_order else None)
                values = values if in_order else values[:, self._places][:, :planes]
                if part.numbers is not None:
                    numbers = torch.from_numpy(part.numbers[low:high].astype(np.int64))
                    labels = self.labels_N[first + low : first + high]
                    values = self.stored.spread(values, numbers, labels, self.classes)
                pieces.append(values)
            first += len(part.values)
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)
