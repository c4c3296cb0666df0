"""The room of a cache: the longest unused go, what lies there is counted right whoever dies, and hardly ever listed."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from platform.data import room as room_module
from platform.data.room import OLDEST, Ledger, Room

SIZE = 1000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (folder := tmp_path / "cache").mkdir()
    return folder


@pytest.fixture
def listings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Of the folder, one entry each."""
    seen, scandir = [], os.scandir

    def listing(folder: Path):
        seen.append(str(folder))
        return scandir(folder)

    monkeypatch.setattr(room_module.os, "scandir", listing)
    return seen


def path_of(folder: Path, number: int) -> Path:
    return folder / f"{number}-{number:024x}.tar"


def lies(folder: Path, number: int, used: int) -> None:
    path = path_of(folder, number)
    path.write_bytes(b"")
    os.truncate(path, SIZE)
    os.utime(path, (used, used))


def come(room: Room, number: int) -> Path:
    """A shard is fetched."""
    path = path_of(room.folder, number)
    part = path.with_suffix(".part")
    with room.lock(path):
        part.write_bytes(bytes(SIZE))
        room.reserve(part, SIZE)
        room.keep(part, path)
    return path


def there(folder: Path) -> set[int]:
    return {int(path.name.partition("-")[0]) for path in folder.glob("*.tar")}


def counted(folder: Path) -> int:
    return Ledger.of((folder / "lock" / "ledger").read_text()).bytes


def test_nothing_is_listed_while_there_is_room(folder: Path, listings: list[str]) -> None:
    for number in range(1000):
        lies(folder, number, used=number)
    for number in range(1000, 1050):
        come(Room(folder, 2000 * SIZE), number)  # each of a process of its own
    assert len(listings) == 1
    assert counted(folder) == 1050 * SIZE


@pytest.mark.slow
def test_hundreds_that_make_room_cost_one_listing(folder: Path, listings: list[str]) -> None:
    for number in range(1000):
        lies(folder, number, used=number)
    for number in range(1000, 1000 + 2 * OLDEST):
        come(Room(folder, 1000 * SIZE), number)
    assert len(listings) <= 3
    assert there(folder) == set(range(2 * OLDEST, 1000 + 2 * OLDEST))


@pytest.mark.slow
def test_the_longest_unused_go_whatever_was_used_meanwhile(folder: Path) -> None:
    """Against a plain list of all shards by their last use."""
    draw, limit = random.Random(0), 40
    last_used: dict[int, int] = {}
    room = Room(folder, limit * SIZE)
    for clock in range(600):
        number = draw.randrange(80)
        if number not in last_used:
            while len(last_used) >= limit:
                del last_used[min(last_used, key=lambda known: last_used[known])]
            come(room, number)
        last_used[number] = clock
        os.utime(path_of(folder, number), (clock, clock))
        assert there(folder) == set(last_used)
    assert counted(folder) == limit * SIZE


def test_what_is_in_the_way_of_a_count_is_counted_anew(folder: Path) -> None:
    room = Room(folder, 10 * SIZE)
    for number in range(10):
        come(room, number)
    ledger = folder / "lock" / "ledger"
    good = json.loads(ledger.read_text())
    outside = folder.parent / "1-000000000000000000000001.tar"
    outside.write_bytes(bytes(SIZE))
    stranger = [f"../{outside.name}", outside.stat().st_mtime_ns, SIZE]
    damages = [
        "", "{", "[]", "null", "[" * 100_000, json.dumps(good | {"oldest": [stranger]}),
        json.dumps(good | {"oldest": 3}),
        json.dumps(good | {"fetching": {stranger[0]: 1}}), json.dumps(good | {"bytes": float("inf")}),
        json.dumps(good | {"listed": float("nan")}),
    ]  # fmt: skip
    for number, damage in enumerate(damages, start=10):
        ledger.write_text(damage)
        come(room, number)
        assert len(there(folder)) == 10
        assert counted(folder) == 10 * SIZE
    assert outside.exists()


def test_what_others_put_and_took_is_counted_within_the_hour(folder: Path) -> None:
    room, ledger = Room(folder, 10 * SIZE), folder / "lock" / "ledger"
    for number in range(5):
        come(room, number)
    for number in range(100, 120):
        lies(folder, number, used=number)  # by an older version, which keeps no count
    ledger.write_text(json.dumps(json.loads(ledger.read_text()) | {"listed": 0.0}))
    come(room, 5)
    assert len(there(folder)) == 10
    for path in folder.glob("*.tar"):  # somebody makes room
        path.unlink()
    for number in range(20, 30):
        come(room, number)
    assert there(folder) == set(range(20, 30))
    assert counted(folder) == 10 * SIZE


def test_a_shard_that_is_forgotten_or_was_not_fetched_counts_no_more(folder: Path) -> None:
    room = Room(folder, 10 * SIZE)
    paths = [come(room, number) for number in range(3)]
    room.forget(paths[0])
    room.forget(paths[0])
    part = path_of(folder, 7).with_suffix(".part")
    with room.lock(part):
        part.write_bytes(b"")
        room.reserve(part, 5 * SIZE)
        assert counted(folder) == 7 * SIZE
        room.release(part)
    paths[1].write_bytes(b"torn")
    come(room, 1)
    come(room, 3)
    assert counted(folder) == 3 * SIZE == sum(path.stat().st_size for path in folder.glob("*.*"))


DYING = """
import os, sys
from pathlib import Path
from platform.data import room
from tests.data.test_room import come

point, folder, number, limit = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
die = lambda *_, **__: os._exit(9)
if point == "evicted":
    room.Room._write = die
elif point == "counted":
    write = room.Room._write
    room.Room._write = lambda *given: (write(*given), die())
elif point == "torn":
    room.Room._write = lambda self, ledger: (self._ledger.write_text('{"listed": 1'), die())
elif point == "fetched":
    Path.replace = die
elif point == "named":
    replace = Path.replace
    Path.replace = lambda *given: (replace(*given), die())
come(room.Room(folder, limit), number)
"""


@pytest.mark.parametrize("point", ["evicted", "counted", "torn", "fetched", "named"])
def test_the_count_is_right_whenever_a_process_is_killed(folder: Path, point: str) -> None:
    room = Room(folder, 4 * SIZE)
    for number in range(4):
        come(room, number)
        os.utime(path_of(folder, number), (number, number))
    command = [sys.executable, "-c", DYING, point, str(folder), "9", str(4 * SIZE)]
    assert subprocess.run(command).returncode == 9
    come(room, 10)
    if point != "named":
        assert there(folder) == {1, 2, 3, 10}  # nothing had to go for what nobody fetches any more
        come(room, 9)  # as the next start would
    assert there(folder) == {2, 3, 9, 10}
    assert list(folder.glob("*.part")) == []
    assert counted(folder) == 4 * SIZE
