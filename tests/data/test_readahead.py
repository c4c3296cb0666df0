"""Read-ahead: what comes next is there before it is asked for, and its faults are nobody's but the reader's."""

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from platform.config.checks import ConfigError
from platform.config.data import StorageConfig
from platform.data.cache import ShardError
from platform.data.index import Index, Split, read_index
from platform.data.order import Order
from platform.data.readahead import OrderAhead, ReadAhead, ShareAhead, check_room
from tests.data.servers import Server, http_server

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def server(digits: Index):
    with http_server(Path(digits.url)) as running:
        yield running


@pytest.fixture
def split(server: Server, tmp_path: Path) -> Split:
    """Five shards of 300 samples (the last is shorter) over HTTP."""
    return read_index(server.url, StorageConfig(cache=str(tmp_path / "cache"), attempts=1)).split("train")


def fetched(server: Server) -> set[int]:
    return {int(name[6:12]) for name in server.requests if name.startswith("train-")}


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_block_being_read_and_the_next_are_fetched_and_no_more(server: Server, split: Split) -> None:
    order = Order.of(split, 1, 10, 200, 3)
    first = order.block_at(0, 0)
    with closing(OrderAhead(split, order, 0, 1)) as ahead:
        blocks = [first, order.block_after(first)]
        for step in range(order.steps_per_epoch):
            if order.block_at(step, 0) not in blocks[:-1]:
                blocks.append(order.block_after(blocks[-1]))
            ahead.at(step)
            expected = {shard for block in blocks for shard in order.shards_of(block)}
            wait_until(lambda expected=expected: fetched(server) == expected)
    assert fetched(server) == set(range(len(split.shards)))
    assert all(count == 1 for count in server.requests.values())


def test_each_rank_fetches_for_its_own_streams(server: Server, split: Split) -> None:
    order = Order.of(split, 4, 40, 20, 3)
    with closing(OrderAhead(split, order, 1, 4)) as ahead:
        ahead.at(0)
        block = order.block_at(0, 1)
        expected = set(order.shards_of(block)) | set(order.shards_of(order.block_after(block)))
        wait_until(lambda: fetched(server) == expected)
        time.sleep(0.1)
    assert fetched(server) == expected


def test_an_evaluation_is_two_shards_ahead_within_its_share(server: Server, split: Split) -> None:
    with closing(ShareAhead(split, range(310, 1150))) as ahead:
        for sample_id, expected in ((310, {1, 2, 3}), (590, {1, 2, 3}), (610, {1, 2, 3}), (1149, {1, 2, 3})):
            ahead.at(sample_id)
            wait_until(lambda expected=expected: fetched(server) == expected)
    assert max(server.requests.values()) == 1
    with closing(ShareAhead(split, range(0))) as nothing:
        assert nothing is not None


def test_a_shard_that_cannot_be_had_fails_its_reader_only(server: Server, split: Split, tmp_path: Path) -> None:
    with closing(ReadAhead(split)) as ahead:
        broken = Split("train", [*split.shards[:1], _nowhere(split)], split.opened)
        failing = ReadAhead(broken)
        failing.soon([1, 0])
        wait_until(lambda: fetched(server) >= {0})
        failing.close()
        ahead.soon([2])
        wait_until(lambda: 2 in fetched(server))
    assert broken.read(0).image == split.read(0).image
    with pytest.raises((ShardError, OSError), match=r"nowhere.tar does not exist"):
        broken.read(300)


def _nowhere(split: Split):
    shard = split.shards[1]
    return type(shard)(shard.url.rpartition("/")[0] + "/nowhere.tar", shard.samples, shard.bytes, shard.md5)


def test_the_room_asked_for_holds_the_blocks_being_read_and_the_next(server: Server, tmp_path: Path) -> None:
    """A stream of one block of a third of a shard, the next in another shard: two shards, not one."""
    split = read_index(server.url, StorageConfig(cache=str(tmp_path))).split("train")
    order = Order.of(split, 1, 10, 250, 3)
    block = order.block_at(0, 0)
    needed = {*order.shards_of(block), *order.shards_of(order.block_after(block))}
    assert len(needed) > len(order.shards_of(block))
    room = sum(split.shards[shard].bytes for shard in needed)
    for limit, fits in ((room, True), (room - 1, False)):
        split.opened.cache.limit_bytes = limit
        if fits:
            check_room(split, order, 1)
        else:
            with pytest.raises(ConfigError, match=r"1 streams with blocks of 250 samples"):
                check_room(split, order, 1)


def test_the_room_asked_for_is_that_of_the_worker_with_most_streams(server: Server, tmp_path: Path) -> None:
    split = read_index(server.url, StorageConfig(cache=str(tmp_path), cache_gb=1e-5)).split("train")
    order = Order.of(split, 4, 40, 20, 3)
    for world, streams in ((1, 4), (3, 2), (4, 1)):
        with pytest.raises(ConfigError, match=rf"but {streams} streams with blocks"):
            check_room(split, order, world)


def test_room_is_asked_for_remote_shards_only(digits: Index, server: Server, tmp_path: Path) -> None:
    small = StorageConfig(cache=str(tmp_path), cache_gb=1e-4)
    remote, local = (read_index(url, small).split("train") for url in (server.url, digits.url))
    for split in (remote, local):
        order = Order.of(split, 4, 40, 20, 3)
        if split is remote:
            with pytest.raises(
                ConfigError, match=r"storage.cache_gb is 0.0001, but 2 streams with blocks of 20 samples"
            ):
                check_room(split, order, 2)
        else:
            check_room(split, order, 2)
