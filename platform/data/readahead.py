"""Shards fetched and opened ahead of the samples that are read, in the order of reading.

In: the order and a worker's step. Out: shards in the cache. An error here is only logged: reading meets it again.
"""

import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from platform.config.checks import ConfigError
from platform.data.cache import ShardError
from platform.data.index import Split
from platform.data.order import Block, Order
from platform.data.store_errors import StorageError

log = logging.getLogger("platform.data")


class ReadAhead:
    """Threads that fetch and open shards of one split: `storage.threads` of them."""

    def __init__(self, split: Split) -> None:
        self._split = split
        self._pool = ThreadPoolExecutor(split.opened.cache.storage.config.threads, thread_name_prefix="read ahead")

    def soon(self, shards: Iterable[int]) -> None:
        """Queue shards, by number, in this order."""
        for shard in shards:
            self._pool.submit(self._prepare, shard)

    def _prepare(self, shard: int) -> None:
        try:
            self._split.prepare(shard)
        except (ShardError, StorageError) as error:
            log.debug("read-ahead: %s", error)

    def close(self) -> None:
        """Drop what is queued; a transfer under way ends by itself, and its shard stays in the cache."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class ShareAhead:
    """Keeps an evaluation, which reads its share of a split from first to last, two shards ahead."""

    def __init__(self, split: Split, share: range) -> None:
        self._split = split
        self._next = split.locate(share.start)[0]
        self._stop = split.locate(share.stop - 1)[0] + 1 if share else self._next
        self._ahead = ReadAhead(split)

    def at(self, sample_id: int) -> None:
        """Queue the shards up to two after that of the sample that is read next."""
        wanted = min(self._split.locate(sample_id)[0] + 3, self._stop)
        self._ahead.soon(range(self._next, wanted))
        self._next = max(self._next, wanted)

    def close(self) -> None:
        self._ahead.close()


def check_room(split: Split, order: Order, world: int) -> None:
    """Check that the cache holds the shards of all blocks that a worker reads at a time, and of the next ones.

    With less, remote shards would be fetched again and again within one block.

    Args:
        split: the shards; local ones need no cache.
        order: of the samples.
        world: number of workers.

    Raises:
        ConfigError: `storage.cache_gb` is less than the worker with the most streams needs.
    """
    if not split.shards.any_remote:
        return
    streams = len(order.streams_of(0, world))
    room = sum(split.shards[shard].bytes for shard in _shards_at_once(order, world))
    limit = split.opened.cache.limit_bytes
    if room > limit:
        raise ConfigError(
            f"storage.cache_gb is {limit / 1e9:g}, but {streams} streams with blocks of {order.block} samples and "
            f"the next ones read ahead take {room / 1e9:.3g} GB of shards; raise it, lower loader.block, or pack "
            "smaller shards"
        )


def _shards_at_once(order: Order, world: int) -> set[int]:
    """The shards of the blocks that rank 0, who has most, reads at the start of a run, and of the next ones."""
    reading = [block for stream in order.streams_of(0, world) for block in order.blocks_at(0, stream)]
    blocks = [*reading, *map(order.block_after, reading)]
    return {shard for block in blocks for shard in order.shards_of(block)}


class OrderAhead:
    """Keeps a worker's streams one block ahead of what it reads.

    Raises:
        ConfigError: the cache is too small, see `check_room`.
    """

    def __init__(self, split: Split, order: Order, rank: int, world: int) -> None:
        self._order = order
        self._streams = order.streams_of(rank, world)
        self._reached: dict[tuple[int, int], Block] = {}  # by stream and set
        check_room(split, order, world)
        split.opened.allow(2 * len(_shards_at_once(order, world)))
        self._ahead = ReadAhead(split)

    def at(self, step: int) -> None:
        """Queue the shards of the blocks after those that the worker reads at global step `step`."""
        entered = [block for block in self._blocks(step) if self._reached.get((block.stream, block.of_set)) != block]
        for block in entered:
            if (
                self._reached.get((block.stream, block.of_set)) is None
            ):  # the first step: this block is not fetched either
                self._ahead.soon(self._order.shards_of(block))
            self._reached[block.stream, block.of_set] = block
        for block in entered:
            self._ahead.soon(self._order.shards_of(self._order.block_after(block)))

    def close(self) -> None:
        self._ahead.close()

    def _blocks(self, step: int) -> list[Block]:
        return [block for stream in self._streams for block in self._order.blocks_at(step, stream)]
