"""Several data sets in every global batch: which of them each place of a stream is of, exact by their weights.

In: the orders of the sets, their weights. Out: an order like that of one set, whose only state is the step. Every set
has its own epochs and streams; a worker that reads a stream of the blend reads that stream of each of them.
"""

from dataclasses import replace

import numpy as np

from platform.data import draws
from platform.data.line import Ids, Showings
from platform.data.order import Block, Order

PARTS = 10_000  # weights have four decimals


class BlendedOrder(Order):
    """The order of several sets. An epoch has as many samples as all of them together.

    Ids go through the first set, then the second ...; so do the numbers of shards.

    Args:
        sets: shard sizes of each; at least as many samples of each as streams.
        parts: the weight of each, in PARTS of the whole.
        streams: canonical streams; at least one for each worker.
        batch_size: global; a multiple of `streams`.
        block: samples of a set that are shuffled together within a stream.
        seed: of everything drawn.
    """

    def __init__(self, sets: list[Ids], parts: list[int], streams: int, batch_size: int, block: int, seed: int) -> None:
        super().__init__(np.concatenate(sets), streams, batch_size, block, seed)
        self.sets = [
            Order(sizes, streams, streams, block, draws.key(seed, number)) for number, sizes in enumerate(sets)
        ]
        self._parts = parts
        self._first_ids = np.cumsum([0, *(order.samples for order in self.sets)])
        self._first_shards = np.cumsum([0, *map(len, sets)])
        self._turns = [np.arange(streams), *(_spread(streams, turn) for turn in range(1, len(sets)))]

    def of_stream(self, stream: int, first: int, stop: int) -> Showings:
        """What one stream gives from its sample number `first` to `stop` - 1; each sample's epoch is its own set's."""
        shown = self.shown(stream, np.arange(first, stop + 1))
        found = Showings(*np.zeros((3, stop - first), np.int64))
        for number, order in enumerate(self.sets):
            own_first, own_stop = shown[number, [0, -1]].tolist()
            if own_first == own_stop:
                continue
            own = order.of_stream(stream, own_first, own_stop)
            at = np.diff(shown[number]) > 0
            found.ids[at] = own.ids + self._first_ids[number]
            found.epochs[at] = own.epochs
            found.showings[at] = own.showings
        return found

    def blocks_at(self, step: int, stream: int) -> list[Block]:
        """The block of each set that `stream` reads at global step `step`."""
        shown = self.shown(stream, np.array([step * self.per_stream]))[:, 0].tolist()
        return [
            replace(order.block_at(place, stream), of_set=number)
            for number, (order, place) in enumerate(zip(self.sets, shown, strict=True))
        ]

    def block_after(self, block: Block) -> Block:
        """The block that the stream reads next of the same set."""
        return replace(self.sets[block.of_set].block_after(replace(block, of_set=0)), of_set=block.of_set)

    def shards_of(self, block: Block) -> list[int]:
        """Numbers of the shards that hold the samples of a block."""
        first = int(self._first_shards[block.of_set])
        return [first + shard for shard in self.sets[block.of_set].shards_of(block)]

    def shown(self, stream: int, places: Ids) -> Ids:
        """How many of the first `places` of a stream are of each set: int64 `[sets, len(places)]`.

        One set after the other takes its weight of what those before it have left, rounded; the streams round at
        different places. So the sum over all streams is rounded as well: with two sets it is the nearest whole number.
        """
        left, weight, found = places, PARTS, []
        for parts, turns in zip(self._parts, self._turns, strict=True):
            turn = 2 * int(turns[stream]) + 1
            taken = (2 * self.streams * parts * left + turn * weight) // (2 * self.streams * weight)
            found.append(taken if parts < weight else left)
            left, weight = left - found[-1], weight - parts
        return np.stack(found)


def epochs_of(samples: list[int], parts: list[int], images: int) -> list[float]:
    """How often each of several sets is seen in a run of so many images."""
    return [images * part / PARTS / each for each, part in zip(samples, parts, strict=True)]


def weights(others: list[float]) -> list[int]:
    """The weights in PARTS of the whole: the first set has what the others leave."""
    parts = [round(weight * PARTS) for weight in others]
    return [PARTS - sum(parts), *parts]


def _spread(streams: int, turn: int) -> Ids:
    """The streams in an order in which neighbours are far apart (van der Corput's), turned by some."""
    bits = max(1, (streams - 1).bit_length())
    reversed_ = [int(f"{stream:0{bits}b}"[::-1], 2) for stream in range(streams)]
    places = np.argsort(np.argsort(reversed_))
    return (places + turn * streams // 3) % streams
