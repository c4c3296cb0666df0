"""An epoch's shards end to end: a ring of places, each of which shows one sample.

In: the samples of each shard, and how often each is shown. Out: the sample at a place, and how often it came before.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Showings:
    """Samples that are shown: which, in which epoch of theirs, and for the how-many-th time in it. All `[N]`."""

    ids: Ids
    epochs: Ids
    showings: Ids  # 0: for the first time


def joined(parts: list[Showings]) -> Showings:
    """All of them behind one another."""
    if len(parts) == 1:
        return parts[0]
    found = ([getattr(part, name) for part in parts] for name in ("ids", "epochs", "showings"))
    return Showings(*map(np.concatenate, found))


@dataclass(frozen=True)
class Line:
    """The shards of a split in an epoch's order.

    Args:
        shards: the shard in each slot.
        starts: the place where each slot starts.
        firsts: of each shard by its number, its first place if the shards were in the order of the index.
        length: places of the ring.
        cut: where the first stream starts; drawn, so that each epoch leaves out other samples.
        until: of each sample, the places up to and with its own in the order of the index; None: each has one.
    """

    shards: Ids
    starts: Ids
    firsts: Ids
    length: int
    cut: int
    until: Ids | None = None

    @classmethod
    def of(cls, shards: Ids, sizes: Ids, cut: int, counts: Ids | None = None) -> "Line":
        """The line of an epoch.

        Args:
            shards: their numbers in the epoch's order.
            sizes: samples of each shard, in the order of the index.
            cut: any number.
            counts: how often each sample is shown; None: once.
        """
        until = None
        if counts is not None:
            until, ends = np.cumsum(counts), np.cumsum(sizes)
            sizes = np.diff(np.concatenate([[0], until])[ends], prepend=0)
        firsts = np.cumsum(sizes) - sizes
        slots, length = sizes[shards], int(sizes.sum())
        return cls(shards, np.cumsum(slots) - slots, firsts, length, cut % length, until)

    def at(self, places: Ids) -> tuple[Ids, Ids]:
        """The samples at places of the ring, and how often each came before on the line."""
        slot = self._slot(places)
        places = self.firsts[self.shards[slot]] + places - self.starts[slot]
        if self.until is None:
            return places, np.zeros(len(places), np.int64)
        ids = np.searchsorted(self.until, places, side="right")
        return ids, places - np.where(ids > 0, self.until[ids - 1], 0)

    def between(self, first: int, last: int) -> list[int]:
        """The shards that are shown at the places from `first` to `last` of the ring."""
        low, high = self._slot(np.array([first, last])).tolist()
        slots = range(low, high + 1) if first <= last else [*range(low, len(self.shards)), *range(high + 1)]
        return [int(self.shards[slot]) for slot in dict.fromkeys(slots) if self._size(slot)]

    def _slot(self, places: Ids) -> Ids:
        return np.searchsorted(self.starts, places, side="right") - 1

    def _size(self, slot: int) -> int:
        end = self.starts[slot + 1] if slot + 1 < len(self.starts) else self.length
        return int(end - self.starts[slot])
