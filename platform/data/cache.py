"""Shards on this machine: local ones where they lie, remote ones in a bounded folder of their node, or in memory.

In: a shard of the index. Out: its bytes, mapped or held, whole and of the right checksum. The folder is shared by all
processes of a node: each shard is fetched once, under a lock that the operating system frees when its holder dies.
"""

import contextlib
import errno
import hashlib
import io
import mmap
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from platform.config.checks import ConfigError
from platform.config.sections import MEMORY
from platform.data.room import Room
from platform.data.storage import Storage, StorageError, is_remote
from platform.locks import NoLocks, require_locks, share

Bytes = mmap.mmap | bytes
NO_ALLOCATING = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)  # on some file systems


class ShardError(RuntimeError):
    """A shard or index that is missing, torn or not what it says. The message names it."""


@dataclass(frozen=True, slots=True)
class ShardFile:
    """One tar file."""

    url: str  # or path
    samples: int
    bytes: int
    md5: str  # "": not known, not checked


class Cache(Protocol):
    """Where remote shards are kept."""

    storage: Storage
    limit_bytes: int  # of remote shards

    def open(self, shard: ShardFile) -> Bytes:
        """The whole shard, fetched if need be.

        Raises:
            ShardError: it is missing, or the cache cannot take it.
            StorageError: it cannot be fetched.
            ConfigError: the cache can take none, ever.
        """
        ...

    def discard(self, shard: ShardFile) -> bool:
        """Forget a copy that turned out to be wrong; whether another `open` could bring a better one."""
        ...


def open_cache(storage: Storage) -> Cache:
    """The cache that `storage.cache` asks for. Nothing is made on disk before the first remote shard."""
    limit = round(storage.config.cache_gb * 1e9)  # 0.57 times 1e9 is a little less than what was asked for
    if storage.config.cache == MEMORY:
        return MemoryCache(storage, limit)
    return DiskCache(storage, Path(storage.config.cache), limit)


class MemoryCache:
    """Remote shards are held by whoever reads them (`reader.OpenShards`, which knows the limit)."""

    def __init__(self, storage: Storage, limit_bytes: int) -> None:
        self.storage = storage
        self.limit_bytes = limit_bytes

    def open(self, shard: ShardFile) -> Bytes:
        if not is_remote(shard.url):
            return map_file(shard)
        content = io.BytesIO()
        self.storage.fetch(shard.url, shard.bytes, shard.md5, content)
        return content.getvalue()

    def discard(self, shard: ShardFile) -> bool:
        return is_remote(shard.url)


class DiskCache:
    """A folder of shards, the least recently used of which make room for new ones.

    NAME.tar       a whole shard; who reads it holds a shared lock on it, and it is not removed meanwhile
    NAME.part      being fetched by the holder of its lock file; of a dead process if nobody holds that
    lock/          the locks, and what lies in the folder (`room.Room`)
    """

    def __init__(self, storage: Storage, folder: Path, limit_bytes: int) -> None:
        self.storage = storage
        self._folder = folder
        self.limit_bytes = limit_bytes
        self._room = Room(folder, limit_bytes)

    def open(self, shard: ShardFile) -> Bytes:
        if not is_remote(shard.url):
            return map_file(shard)
        path = self._path(shard)
        try:
            found = _open_whole(path, shard)
            if found is None:
                with self._room.lock(path):  # another process may be fetching it
                    found = _open_whole(path, shard)
                    if found is None:
                        found = self._fetch(shard, path)
            return found
        except StorageError:
            raise
        except NoLocks as error:
            raise ShardError(_without_locks(error)) from error  # not final: a lock server that is away comes back
        except OSError as error:
            raise ShardError(
                f"the cache {self._folder} cannot take {shard.url} ({error.strerror or error}); free space there, "
                f"lower storage.cache_gb, or set storage.cache={MEMORY}"
            ) from error

    def discard(self, shard: ShardFile) -> bool:
        if not is_remote(shard.url):
            return False
        try:
            if (path := self._path(shard)).exists():
                self._room.forget(path)
        except OSError:  # it stays there, and what was wrong with it is said
            return False
        return True

    def _path(self, shard: ShardFile) -> Path:
        """By content: a shard that changes at its address is another file here."""
        digest = hashlib.sha256(f"{shard.url}\n{shard.md5}\n{shard.bytes}".encode()).hexdigest()[:24]
        stem = re.sub(r"[^\w.-]", "_", shard.url.rpartition("/")[2].removesuffix(".tar"))[-60:]
        return self._folder / f"{stem}-{digest}.tar"

    def _fetch(self, shard: ShardFile, path: Path) -> Bytes:
        """Make room, fetch, check, and only then give it its name. The caller holds the shard's lock."""
        part = path.with_suffix(".part")
        part.unlink(missing_ok=True)  # of a process that died
        try:
            with open(part, "w+b") as file:
                share(file)  # from now on it is being read
                self._room.reserve(part, shard.bytes)
                _allocate(file.fileno(), shard.bytes)
                self.storage.fetch(shard.url, shard.bytes, shard.md5, file)
                file.flush()
                os.fsync(file.fileno())
                self._room.keep(part, path)
                return _mapped(file.fileno())
        except BaseException:
            with contextlib.suppress(OSError):
                self._room.release(part)
            raise


def require_cache(folder: Path) -> None:
    """Try a folder that is there as a cache.

    Raises:
        ConfigError: its file system has no locks.
        OSError: nothing can be written there.
    """
    try:
        require_locks(folder)
    except NoLocks as error:
        raise ConfigError(_without_locks(error)) from error


def _without_locks(error: NoLocks) -> str:
    return f"storage.cache: {error}; give a folder on a disk of each machine, or set storage.cache={MEMORY}"


def map_file(shard: ShardFile) -> Bytes:
    """A local shard's bytes, mapped.

    Raises:
        ShardError: it is missing, of another size than its index says, or cannot be read.
    """
    try:
        with open(shard.url, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size != shard.bytes:
                raise ShardError(f"shard {shard.url} has {size} bytes, its index says {shard.bytes}; copy it again")
            return _mapped(file.fileno())
    except (OSError, ValueError) as error:
        raise ShardError(f"shard {shard.url} cannot be read ({error}); copy it again or pack anew") from error


def check_inside(path: str, folder: str) -> None:
    """A link out of the folder leads to a file that the index has no business with.

    Raises:
        ShardError: it is one.
    """
    inside = os.path.realpath(folder)
    if os.path.commonpath([os.path.realpath(path), inside]) != inside:
        raise ShardError(f"{path} is a link to outside its folder; shards must lie beside their index")


def _mapped(descriptor: int) -> Bytes:
    if os.fstat(descriptor).st_size == 0:
        return b""
    return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)


def _open_whole(path: Path, shard: ShardFile) -> Bytes | None:
    """The cached shard, marked as used now and locked against removal as long as it is mapped; None if it is absent."""
    try:
        with open(path, "rb") as file:
            share(file)  # the map holds it on: it shares the open file
            if os.fstat(file.fileno()).st_size != shard.bytes:
                return None
            with contextlib.suppress(OSError):
                os.utime(path)
            return _mapped(file.fileno())
    except FileNotFoundError:
        return None


def _allocate(descriptor: int, size: int) -> None:
    """Have a full disk show before anything is fetched, where the file system can say."""
    try:
        if size:
            os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno not in NO_ALLOCATING:
            raise
