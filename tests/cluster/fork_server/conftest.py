"""A place for a fork server, of which nothing is left."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.fork_server.handmade import Place, place


@pytest.fixture
def forks(tmp_path: Path) -> Iterator[Place]:
    with place(tmp_path) as made:
        yield made
    assert not made.servers()
