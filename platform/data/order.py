"""Which sample comes when: a pure function of (seed, epoch, streams) over the index, computed as it is asked for.

Each epoch permutes the shards, lays their samples end to end in a ring (`line`; as often as they are due where classes
are weighted: `balance`), cuts that at a drawn place into `streams` equal canonical streams and shuffles each stream in
blocks. Global batch k takes an equal share from every stream, at positions that follow from k alone: the position in
the data is one integer, and any number of workers up to that of the streams, dealt whole streams, sees the same global
batches.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from platform.config.checks import require
from platform.data import draws
from platform.data.balance import Balance
from platform.data.index import Split
from platform.data.line import Ids, Line, Showings, joined


class Order:
    """The order of one split's samples, computed on demand; what it keeps is a cache.

    Args:
        sizes: samples of each shard, in the order of the index.
        streams: canonical streams; at least one for each worker.
        batch_size: global; a multiple of `streams`.
        block: samples shuffled together within a stream.
        seed: of shards, blocks and epochs.
        balance: how often each sample is shown; None: once an epoch.
        repeats: how often a stream gives each sample in a row (repeated augmentation). An epoch has as many steps with
            it, and a share of 1 / repeats of the samples, others each time: so does timm's RepeatAugSampler.
    """

    def __init__(
        self,
        sizes: Ids,
        streams: int,
        batch_size: int,
        block: int,
        seed: int,
        balance: Balance | None = None,
        repeats: int = 1,
    ) -> None:
        self.sizes = np.asarray(sizes, np.int64)
        self.streams, self.batch_size, self.block, self.seed = streams, batch_size, block, seed
        self.repeats = repeats
        self.samples = int(self.sizes.sum())
        self.per_stream = batch_size // streams  # samples each stream gives to a global batch
        self.steps_per_epoch = steps_per_epoch(self.samples, streams, batch_size)
        self.balance = balance
        self._length = (balance.shown if balance else self.samples) // streams  # of a stream
        self._lines: dict[int, Line] = {}  # of the newest epochs
        self._permutations: dict[int, tuple[tuple[int, int], Ids]] = {}  # stream -> ((epoch, block), its permutation)

    @classmethod
    def of(
        cls,
        split: Split,
        streams: int,
        batch_size: int,
        block: int,
        seed: int,
        balance: Balance | None = None,
        repeats: int = 1,
    ) -> "Order":
        """The order of a split.

        Raises:
            ConfigError: it has fewer samples than a batch.
        """
        require_batch(split, batch_size)
        return cls(split.sizes, streams, batch_size, block, seed, balance, repeats)

    def batch(self, step: int, rank: int = 0, world: int = 1) -> Ids:
        """Sample ids of a rank's share of one global batch: equal numbers from each of its streams.

        The shares of all ranks together are the global batch. The samples that an epoch leaves out, fewer than a batch,
        are different ones in each epoch.

        Args:
            step: global, counted over all epochs.
            rank: of the worker.
            world: number of workers, at most `streams`.

        Returns:
            int64 `[N]`.
        """
        return self.showings(step, rank, world).ids

    def showings(self, step: int, rank: int = 0, world: int = 1) -> Showings:
        """The same share, with each sample's epoch and how often that has shown it before: what crops are drawn by."""
        first = step * self.per_stream
        return joined(
            [self.of_stream(stream, first, first + self.per_stream) for stream in self.streams_of(rank, world)]
        )

    def of_stream(self, stream: int, first: int, stop: int) -> Showings:
        """What one stream gives from its sample number `first` to `stop` - 1, counted over all epochs."""
        length = self.steps_per_epoch * self.per_stream  # of a stream in an epoch
        found = []
        while first < stop:
            epoch, position = divmod(first, length)
            end = min(position + stop - first, length)
            ids, showings = self._repeated(epoch, stream, position, end)
            found.append(Showings(ids, np.full(len(ids), epoch), showings))
            first += end - position
        return joined(found)

    def streams_of(self, rank: int, world: int) -> range:
        """The streams that `rank` reads: every `world`-th one, so that the first ranks may have one more."""
        return range(rank, self.streams, world)

    def blocks_at(self, step: int, stream: int) -> list["Block"]:
        """All blocks that `stream` reads at global step `step`."""
        return [self.block_at(step, stream)]

    def block_at(self, step: int, stream: int) -> "Block":
        """The block that `stream` reads at global step `step`."""
        epoch, place = divmod(step, self.steps_per_epoch)
        return Block(epoch, stream, self._block_of(stream, place * self.per_stream // self.repeats))

    def block_after(self, block: "Block") -> "Block":
        """The block that the stream reads next, perhaps in the next epoch."""
        last = self._block_of(block.stream, (self.steps_per_epoch * self.per_stream - 1) // self.repeats)
        if block.number < last:
            return Block(block.epoch, block.stream, block.number + 1)
        return Block(block.epoch + 1, block.stream, 0)

    def shards_of(self, block: "Block") -> list[int]:
        """Numbers of the shards that hold the samples of a block."""
        low, high = self._block_bounds(block.stream, block.number)
        first, last = self._on_line(block.epoch, block.stream, np.array([low, high - 1])).tolist()
        return self._line(block.epoch).between(first, last)

    def _repeated(self, epoch: int, stream: int, start: int, stop: int) -> tuple[Ids, Ids]:
        """What one stream gives at positions start .. stop - 1, each sample `repeats` times: ids, and how often the
        epoch has shown each before."""
        positions = np.arange(start, stop)
        first = start // self.repeats
        ids, showings = self._stream(epoch, stream, first, (stop - 1) // self.repeats + 1)
        of = positions // self.repeats - first
        return ids[of], showings[of] * self.repeats + positions % self.repeats

    def _stream(self, epoch: int, stream: int, start: int, stop: int) -> tuple[Ids, Ids]:
        """Sample ids at positions start .. stop - 1 of one stream, and how often the epoch's line has each before."""
        positions = np.arange(start, stop)
        places = np.empty(stop - start, np.int64)
        for block in range(self._block_of(stream, start), self._block_of(stream, stop - 1) + 1):
            low, high = self._block_bounds(stream, block)
            permutation = self._permutation(epoch, stream, block, high - low)
            inside = slice(max(low - start, 0), high - start)
            places[inside] = low + permutation[positions[inside] - low]
        return self._line(epoch).at(self._on_line(epoch, stream, places))

    def _block_of(self, stream: int, position: int) -> int:
        """Streams start at different places of a block, so that they do not all open new shards at the same step."""
        return (position + self._shift(stream)) // self.block

    def _block_bounds(self, stream: int, block: int) -> tuple[int, int]:
        low = block * self.block - self._shift(stream)
        return max(low, 0), min(low + self.block, self._length)

    def _shift(self, stream: int) -> int:
        return stream * self.block // self.streams

    def _permutation(self, epoch: int, stream: int, block: int, length: int) -> Ids:
        known = self._permutations.get(stream)
        if known is None or known[0] != (epoch, block):
            key = draws.key(self.seed, epoch, 1 + stream, block)
            known = self._permutations[stream] = (epoch, block), _permutation(length, key)
        return known[1]

    def _on_line(self, epoch: int, stream: int, positions: Ids) -> Ids:
        """Positions in a stream -> positions on the epoch's line of shards, which is a ring."""
        line = self._line(epoch)
        return (line.cut + stream * self._length + positions) % line.length

    def _line(self, epoch: int) -> Line:
        if epoch not in self._lines:
            shards = _permutation(len(self.sizes), draws.key(self.seed, epoch, 0))
            counts = self.balance.counts(epoch) if self.balance else None
            for old in [known for known in self._lines if abs(known - epoch) > 1]:
                del self._lines[old]
            self._lines[epoch] = Line.of(shards, self.sizes, draws.key(self.seed, epoch, 0, 0), counts)
        return self._lines[epoch]


@dataclass(frozen=True)
class Block:
    """Samples of one stream that are shuffled together, by their number in epoch and stream."""

    epoch: int
    stream: int
    number: int
    of_set: int = 0  # of a blend


def require_batch(split: Split, batch_size: int) -> None:
    """Refuse a split that does not fill a global batch."""
    require(
        split.samples >= batch_size,
        f"{split.name} has {split.samples} samples, fewer than training.batch_size ({batch_size}); lower that",
    )


def steps_per_epoch(samples: int, streams: int, batch_size: int) -> int:
    """Number of whole global batches in an epoch."""
    return samples // streams // (batch_size // streams)


def total_steps(epochs: float, per_epoch: int) -> int:
    """Global steps of a run of so many epochs, rounded up, at least one."""
    return max(1, math.ceil(steps_of(epochs, per_epoch)))


def steps_of(duration: float, whole: int) -> Fraction:
    """`duration` times `whole` steps, exact: epochs of `whole` steps, or a share of a run of `whole` steps.

    `duration` is taken as the decimal that was typed: 0.07 of 100 steps are 7, where floats give 7.000000000000001,
    which rounds up to 8. A quotient such as 12 / 37 of 37 steps gives 12.
    """
    exact = Fraction(str(float(duration))) * whole
    nearest = round(exact)
    return Fraction(nearest) if nearest / whole == duration else exact


def _permutation(length: int, key: int) -> Ids:
    return np.random.Generator(np.random.Philox(key)).permutation(length)


def evaluation_share(samples: int, rank: int, world: int) -> range:
    """The sample ids that `rank` evaluates, contiguous; all ranks together have every sample once."""
    return range(samples * rank // world, samples * (rank + 1) // world)
