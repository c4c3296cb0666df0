"""Shards as arrays: the same as a list of them, in little memory, in whichever process."""

import hashlib
import pickle
from collections.abc import Sequence

import pytest

from platform.data.cache import ShardFile
from platform.data.shard_table import KEPT, JoinedShards, ShardTable

SHARDS = [
    ShardFile("s3://bucket/a/train-000000.tar", 7, 100, "0" * 32),
    ShardFile("s3://bucket/a/train-000001.tar", 0, 2**40, ""),
    ShardFile("s3://bucket/a/trän/é.tar", 9, 0, "f" * 32),
    ShardFile("s3://bucket/a/train-000003.tar", 2**40, 5, "odd"),
]


def numbered(count: int) -> list[ShardFile]:
    return [ShardFile(f"/data/train-{n:06d}.tar", 1000, 10**8, f"{n:032x}") for n in range(count)]


@pytest.mark.parametrize("shards", [SHARDS, SHARDS[:1], [], [*SHARDS, ShardFile("/elsewhere/x.tar", 1, 1, "")]])
def test_a_table_is_the_sequence_that_it_was_made_of(shards: list[ShardFile]) -> None:
    table = ShardTable(shards)
    again = pickle.loads(pickle.dumps(table))  # noqa: S301 - our own
    for each in (table, again):
        assert list(each) == shards
        assert [each[number] for number in range(-len(shards), len(shards))] == shards * 2
        assert each[-1:] == shards[-1:]
        assert each[::2] == shards[::2]
        assert each.any_remote == any("://" in shard.url for shard in shards)
        with pytest.raises(IndexError, match=rf"shard {len(shards)} of {len(shards)}"):
            each[len(shards)]


def test_the_digest_is_of_names_checksums_and_numbers_of_samples() -> None:
    """Experiments that earlier versions began have it in their records."""
    lines = "train-000000.tar " + "0" * 32 + " 7\ntrain-000001.tar  0\né.tar " + "f" * 32 + " 9\n"
    expected = hashlib.sha256(lines.encode()).hexdigest()[:16]
    assert ShardTable(SHARDS[:3]).digest == expected
    assert JoinedShards([ShardTable(SHARDS[:1]), ShardTable(SHARDS[1:3])]).digest == expected


def test_several_sets_are_one_sequence() -> None:
    sets: Sequence[ShardTable] = [ShardTable(SHARDS[:3]), ShardTable([]), ShardTable(SHARDS[3:])]
    joined = JoinedShards(sets)
    assert list(joined) == [joined[number] for number in range(4)] == SHARDS
    assert joined.samples.tolist() == [shard.samples for shard in SHARDS]


@pytest.mark.parametrize("count", [1_000, 4_000])
def test_a_shard_takes_less_than_100_bytes(count: int) -> None:
    table = ShardTable(numbered(count))
    assert table.nbytes < 100 * count
    _ = table.digest
    apart: list[pickle.PickleBuffer] = []
    assert len(pickle.dumps(table, protocol=5, buffer_callback=apart.append)) < 1500  # the rest is shared by a node


def test_shards_that_are_read_are_kept_and_no_more_than_that() -> None:
    table = ShardTable(numbered(2 * KEPT))
    assert table[5] is table[5]
    for shard in range(2 * KEPT):
        assert table[shard].url.endswith(f"{shard:06d}.tar")
        assert len(table._kept) <= KEPT
