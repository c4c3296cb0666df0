"""Shards made by hand."""

from pathlib import Path

import pytest

from tests.data.handmade import MakeShards, write_index, write_tar


@pytest.fixture
def make_shards(tmp_path: Path) -> MakeShards:
    """Function: one dict of members (name -> bytes) for each shard -> folder of shards with their index."""

    def make(*shards: dict[str, bytes]) -> Path:
        counts = {}
        for number, members in enumerate(shards):
            path = write_tar(tmp_path / f"train-{number:06d}.tar", members)
            counts[path.name] = len({name.partition(".")[0] for name in members})
        return write_index(tmp_path, counts)

    return make
