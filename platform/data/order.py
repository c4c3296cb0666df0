"""Which sample comes when: a pure function of (seed, epoch, streams) over the index, computed as it is asked for.

Each epoch permutes the shards, lays their samples end to end in a ring, cuts that at a drawn place into `streams` equal
canonical streams and shuffles each stream in blocks. Global batch k takes an equal share from every stream, at
positions that follow from k alone: the position in the data is one integer, and any world size that divides the
streams, dealt whole streams, sees the same global batches.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from platform.config import require
from platform.data import draws
from platform.data.index import Split


@dataclass(frozen=True)
class Order:
    """The order of one split's samples.

    Args:
        sizes: samples of each shard, in the order of the index.
        streams: canonical streams; a multiple of the world size.
        batch_size: global; a multiple of `streams`.
        block: samples shuffled together within a stream.
        seed: of shards, blocks and epochs.
    """

    sizes: tuple[int, ...]
    streams: int
    batch_size: int
    block: int
    seed: int

    @classmethod
    def of(cls, split: Split, streams: int, batch_size: int, block: int, seed: int) -> "Order":
        require(
            split.samples >= batch_size,
            f"{split.name} has {split.samples} samples, fewer than training.batch_size ({batch_size}); lower that",
        )
        return cls(tuple(shard.samples for shard in split.shards), streams, batch_size, block, seed)

    @property
    def samples(self) -> int:
        return sum(self.sizes)

    @property
    def per_stream(self) -> int:
        """Samples each stream gives to a global batch."""
        return self.batch_size // self.streams

    @property
    def steps_per_epoch(self) -> int:
        """Whole global batches in an epoch; the few samples beyond are others in every epoch."""
        return steps_per_epoch(self.samples, self.streams, self.batch_size)

    def batch(self, step: int, rank: int = 0, world: int = 1) -> NDArray[np.int64]:
        """Sample ids of `rank`'s share of the global batch at global step `step`, over all epochs: `[batch / world]`.

        Rank r reads streams r, r + world, ...; the shares of all ranks together are the global batch.
        """
        epoch, place = divmod(step, self.steps_per_epoch)
        first = place * self.per_stream
        shares = [
            self._stream(epoch, stream, first, first + self.per_stream) for stream in range(rank, self.streams, world)
        ]
        return np.concatenate(shares)

    def _stream(self, epoch: int, stream: int, start: int, stop: int) -> NDArray[np.int64]:
        """Sample ids at positions start .. stop - 1 of one stream."""
        shards, starts, first_ids = _shard_line(self.sizes, self.seed, epoch)
        length = self.samples // self.streams
        positions = np.arange(start, stop)
        places = np.empty(stop - start, np.int64)
        for block in range(start // self.block, (stop - 1) // self.block + 1):
            low = block * self.block
            permutation = _permutation(min(self.block, length - low), draws.key(self.seed, epoch, 1 + stream, block))
            inside = (positions >= low) & (positions < low + self.block)
            places[inside] = low + permutation[positions[inside] - low]
        cut = draws.key(self.seed, epoch, 0, 0) % self.samples  # so that what an epoch leaves out is others each time
        line = (cut + stream * length + places) % self.samples
        slot = np.searchsorted(starts, line, side="right") - 1
        return first_ids[shards[slot]] + line - starts[slot]


def steps_per_epoch(samples: int, streams: int, batch_size: int) -> int:
    """Whole global batches out of streams of equal length."""
    return samples // streams // (batch_size // streams)


def total_steps(epochs: float, per_epoch: int) -> int:
    """Global steps of a run: its epochs rounded up, at least one."""
    return max(1, math.ceil(epochs * per_epoch))


@lru_cache(maxsize=4)
def _shard_line(
    sizes: tuple[int, ...], seed: int, epoch: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The epoch's shards end to end: (shard in each slot, line position where each slot starts, first id by shard)."""
    counts = np.array(sizes, np.int64)
    shards = _permutation(len(counts), draws.key(seed, epoch, 0))
    starts = np.concatenate([[0], np.cumsum(counts[shards])[:-1]])
    first_ids = np.concatenate([[0], np.cumsum(counts)[:-1]])
    return shards, starts, first_ids


@lru_cache(maxsize=64)
def _permutation(length: int, key: int) -> NDArray[np.int64]:
    return np.random.Generator(np.random.Philox(key)).permutation(length)


def evaluation_share(samples: int, rank: int, world: int) -> range:
    """The ids `rank` evaluates: contiguous parts that together are every sample once, at any world size."""
    return range(samples * rank // world, samples * (rank + 1) // world)
