"""The cache of a node: one fetch for all processes, a bound that holds, nothing half there whoever dies."""

import contextlib
import errno
import fcntl
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from platform.config.data import MEMORY, StorageConfig
from platform.data import cache as cache_module
from platform.data.cache import Bytes, Cache, ShardError, ShardFile, open_cache
from platform.data.storage import Storage
from platform.data.store_errors import StorageError
from tests.data import servers
from tests.data.servers import Server, http_server

pytestmark = pytest.mark.timeout(60)

SIZE = 50_000


@pytest.fixture
def server(tmp_path: Path):
    folder = tmp_path / "served"
    folder.mkdir()
    for number in range(8):
        (folder / f"{number}.tar").write_bytes(bytes([number]) * SIZE)
    with http_server(folder) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def shard(server: Server, number: int) -> ShardFile:
    content = (server.folder / f"{number}.tar").read_bytes()
    return ShardFile(f"{server.url}/{number}.tar", 1, len(content), hashlib.md5(content).hexdigest())


def cache(folder: Path | str, shards: float = 100, **changes: float) -> Cache:
    """A cache with room for so many shards."""
    return open_cache(Storage(StorageConfig(cache=str(folder), cache_gb=shards * SIZE / 1e9, attempts=2, **changes)))  # pyright: ignore[reportArgumentType]


def first(content: Bytes) -> int:
    assert len(content) == SIZE
    return content[SIZE - 1]


def cached(folder: Path) -> list[int]:
    return sorted(int(path.name[0]) for path in folder.glob("*.tar"))


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("*.part")]


def test_a_shard_is_fetched_once_and_then_read_from_disk(server: Server, folder: Path) -> None:
    for _ in range(2):
        assert first(cache(folder).open(shard(server, 3))) == 3
    assert server.requests["3.tar"] == 1
    assert cached(folder) == [3]


def test_the_room_is_what_was_asked_for_and_no_byte_less(folder: Path) -> None:
    for cache_gb, limit in ((0.57, 570_000_000), (1.1, 1_100_000_000), (50.0, 50_000_000_000)):
        assert open_cache(Storage(StorageConfig(cache=str(folder), cache_gb=cache_gb))).limit_bytes == limit


def test_memory_touches_no_disk(server: Server, folder: Path) -> None:
    held = cache(MEMORY)
    assert first(held.open(shard(server, 2))) == 2
    assert not folder.exists()
    assert not Path(MEMORY).exists()
    assert held.discard(shard(server, 2))


def test_local_shards_are_mapped_where_they_lie(server: Server, folder: Path) -> None:
    path = server.folder / "1.tar"
    for kind in (folder, MEMORY):
        assert first(cache(kind).open(ShardFile(str(path), 1, SIZE, "wrong, and not asked"))) == 1
        with pytest.raises(ShardError, match=r"shard /no/x.tar cannot be read .*No such file"):
            cache(kind).open(ShardFile("/no/x.tar", 1, 1, ""))
        assert not cache(kind).discard(ShardFile(str(path), 1, SIZE, ""))
    assert path.exists()
    assert not folder.exists()


def test_a_shard_that_changes_at_its_address_is_another_one(server: Server, folder: Path) -> None:
    old = shard(server, 1)
    assert first(cache(folder).open(old)) == 1
    (server.folder / "1.tar").write_bytes(bytes([9]) * SIZE)
    assert first(cache(folder).open(shard(server, 1))) == 9
    assert first(cache(folder).open(old)) == 1


def test_the_longest_unused_make_room(server: Server, folder: Path) -> None:
    small = cache(folder, shards=3.5)
    for number in (0, 1, 2, 0, 3):  # 1 is the longest unused when 3 comes
        small.open(shard(server, number))  # not held: nobody reads it any more
        time.sleep(0.01)  # so that the times of use differ
    assert cached(folder) == [0, 2, 3]
    small.open(shard(server, 4))
    assert cached(folder) == [0, 3, 4]


def test_what_is_being_read_stays_and_the_excess_is_said(
    server: Server, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    small = cache(folder, shards=2.5)
    held = [small.open(shard(server, number)) for number in range(4)]
    assert cached(folder) == [0, 1, 2, 3]
    assert [first(content) for content in held] == [0, 1, 2, 3]
    assert caplog.text.count("more than storage.cache_gb") == 1
    del held
    small.open(shard(server, 4))
    assert len(cached(folder)) == 2


def test_a_shard_read_from_the_cache_stays_while_it_is_read(server: Server, folder: Path) -> None:
    small = cache(folder, shards=1.5)
    small.open(shard(server, 0))
    held = small.open(shard(server, 0))  # found, not fetched
    small.open(shard(server, 1))
    assert 0 in cached(folder)
    assert first(held) == 0
    del held
    small.open(shard(server, 2))
    assert 0 not in cached(folder)


def test_other_files_in_the_folder_are_left_alone(server: Server, folder: Path) -> None:
    folder.mkdir()
    others = [folder / name for name in ("thesis.tar", "movie.part", "a-b.tar", "x-0123.part")]
    for path in others:
        path.write_bytes(bytes(SIZE))
        os.utime(path, (0, 0))
    small = cache(folder, shards=1.5)
    for number in range(4):
        small.open(shard(server, number))
    assert all(path.stat().st_size == SIZE for path in others)


def test_a_wrong_checksum_leaves_nothing(server: Server, folder: Path) -> None:
    good = shard(server, 0)
    with pytest.raises(StorageError, match=r"0.tar cannot be read after 2 attempts .*checksum"):
        cache(folder).open(ShardFile(good.url, 1, good.bytes, "0" * 32))
    assert list(folder.glob("*.*")) == []
    assert first(cache(folder).open(good)) == 0


def test_a_file_of_another_size_is_fetched_anew(server: Server, folder: Path) -> None:
    cache(folder).open(shard(server, 0))
    (path,) = folder.glob("*.tar")
    path.write_bytes(b"half")  # a disk that lost what was written
    assert first(cache(folder).open(shard(server, 0))) == 0
    assert cache(folder).discard(shard(server, 0))
    assert cached(folder) == []


def test_a_full_disk_is_an_error_with_the_remedy(server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(cache_module.os, "posix_fallocate", full)
    with pytest.raises(
        ShardError, match=r"cannot take .*0.tar \(No space left on device\); free space .*storage.cache=memory"
    ):
        cache(folder).open(shard(server, 0))
    assert leftovers(folder) == []


def test_a_folder_that_cannot_be_made_is_an_error(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ShardError, match=r"the cache .*file/cache cannot take"):
        cache(tmp_path / "file" / "cache").open(shard(server, 0))


def test_threads_of_one_process_fetch_a_shard_once(server: Server, folder: Path) -> None:
    one, results = cache(folder), []
    threads = [threading.Thread(target=lambda: results.append(first(one.open(shard(server, 5))))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [5] * 6
    assert server.requests["5.tar"] == 1


READER = """
import hashlib, random, sys, time
from platform.config.sections import StorageConfig
from platform.data.cache import ShardFile, open_cache
from platform.data.storage import Storage

url, folder, size, seed, room = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5])
cache = open_cache(Storage(StorageConfig(cache=folder, cache_gb=room * size / 1e9, attempts=3)))
random.seed(seed)
print("ready", flush=True)
for _ in range(int(sys.argv[6])):
    number = random.randrange(8)
    content = bytes([number]) * size
    shard = ShardFile(f"{url}/{number}.tar", 1, size, hashlib.md5(content).hexdigest())
    assert cache.open(shard)[:] == content
"""


def reader(server: Server, folder: Path, seed: int, room: float, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", READER, server.url, str(folder), str(SIZE), str(seed), str(room), str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def wait_until(condition: Callable[[], bool], timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
def test_processes_share_a_small_cache(server: Server, folder: Path) -> None:
    """Three processes read eight shards at random through room for four: every byte right, the bound kept."""
    processes = [reader(server, folder, seed, room=4, count=150) for seed in range(3)]
    most = 0
    while any(process.poll() is None for process in processes):
        with contextlib.suppress(FileNotFoundError):  # removed while we look
            most = max(most, sum(path.stat().st_size for path in folder.glob("*.tar")))
        time.sleep(0.005)
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert 0 < most <= 4 * SIZE
    assert leftovers(folder) == []


@pytest.mark.slow
def test_processes_fetch_a_shard_once(server: Server, folder: Path) -> None:
    processes = [reader(server, folder, seed, room=100, count=60) for seed in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert set(server.requests.values()) == {1}


def test_what_a_killed_process_left_is_removed_and_blocks_nobody(server: Server, folder: Path) -> None:
    for number in range(8):
        server.faults[f"{number}.tar"] = [servers.stall]
    process = reader(server, folder, 0, room=100, count=10)
    wait_until(lambda: bool(leftovers(folder)))
    process.send_signal(signal.SIGKILL)
    process.wait()
    server.faults.clear()
    (dead,) = leftovers(folder)
    other = next(number for number in range(8) if not dead.startswith(str(number)))
    assert first(cache(folder).open(shard(server, other))) == other
    assert leftovers(folder) == []
    assert first(cache(folder).open(shard(server, int(dead[0])))) == int(dead[0])


def test_a_part_that_is_being_fetched_is_left_alone(server: Server, folder: Path) -> None:
    rest = threading.Event()
    server.faults["0.tar"] = [servers.held(until=rest)]
    slow = threading.Thread(target=cache(folder).open, args=(shard(server, 0),))
    slow.start()
    try:
        wait_until(lambda: bool(leftovers(folder)))
        for number in range(1, 4):
            cache(folder, shards=1.5).open(shard(server, number))
        assert leftovers(folder) != []
    finally:
        rest.set()
        slow.join()
    assert 0 in cached(folder)


@pytest.fixture
def without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", none)


def test_a_disk_without_locks_is_an_error_that_names_the_file_and_the_remedy(
    server: Server, folder: Path, without_locks: None
) -> None:
    said = (
        rf"^storage\.cache: {folder}/lock/\d+ is on a file system without locks \(No locks available\); give a folder "
        r"on a disk of each machine, or set storage\.cache=memory$"
    )
    with pytest.raises(ShardError, match=said):  # another start may mend it: a server of locks that was away
        cache(folder).open(shard(server, 0))
    assert not server.requests


def test_a_shard_that_is_there_is_read_under_a_lock_too(
    server: Server, folder: Path, request: pytest.FixtureRequest
) -> None:
    cached = cache(folder)
    cached.open(shard(server, 0))
    request.getfixturevalue("without_locks")
    with pytest.raises(ShardError, match=rf"^storage\.cache: {folder}/0-\w+\.tar is on a file system without locks"):
        cached.open(shard(server, 0))
    assert not cached.discard(shard(server, 0))  # so that this is what is said


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EOPNOTSUPP])
def test_a_disk_that_reserves_no_room_does_without(
    server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def none(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(cache_module.os, "posix_fallocate", none)
    assert first(cache(folder).open(shard(server, 0))) == 0
