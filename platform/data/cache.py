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
from platform.config.data import MEMORY
from platform.data.room import Room
from platform.data.storage import Storage
from platform.data.store_errors import StorageError
from platform.data.urls import is_remote
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
    """Where remote shards are kept; local ones are mapped where they lie."""

    storage: Storage
    limit_bytes: int  # of remote shards

    def open(self, shard: ShardFile) -> Bytes:
        """Map or fetch a whole shard.

        Args:
            shard: an entry of the index.

        Raises:
            ShardError: it is missing, or the cache cannot take it.
            StorageError: it cannot be fetched.
        """
        ...

    def discard(self, shard: ShardFile) -> bool:
        """Remove a copy with wrong content; True where another `open` fetches it again, False for local shards."""
        ...


def open_cache(storage: Storage) -> Cache:
    """Make the cache that `storage.cache` asks for. Its folder is made with the first remote shard."""
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
        """Map a local shard, fetch a remote one into memory; raises what `Cache.open` does."""
        if not is_remote(shard.url):
            return map_file(shard)
        content = io.BytesIO()
        self.storage.fetch(shard.url, shard.bytes, shard.md5, content)
        return content.getvalue()

    def discard(self, shard: ShardFile) -> bool:
        return is_remote(shard.url)


class DiskCache:
    """A folder of shards; the least recently used ones are removed for new ones.

    NAME.tar       a whole shard; its readers hold a shared lock on it, so that it is not removed meanwhile
    NAME.part      being fetched by the holder of its lock file; if nobody holds that, a dead process left it
    lock/          the locks, and the list of what is in the folder (`room.Room`)
    """

    def __init__(self, storage: Storage, folder: Path, limit_bytes: int) -> None:
        self.storage = storage
        self._folder = folder
        self.limit_bytes = limit_bytes
        self._room = Room(folder, limit_bytes)

    def open(self, shard: ShardFile) -> Bytes:
        """Map a local shard, or the folder's copy of a remote one, fetched by whichever process comes first."""
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
        """Remove the folder's copy; True where another `open` fetches it again."""
        if not is_remote(shard.url):
            return False
        try:
            if (path := self._path(shard)).exists():
                self._room.forget(path)
        except OSError:  # the copy stays; the caller reports what is wrong with it
            return False
        return True

    def _path(self, shard: ShardFile) -> Path:
        """Named by address and checksum, so that a shard that changes at its address gets another file here."""
        digest = hashlib.sha256(f"{shard.url}\n{shard.md5}\n{shard.bytes}".encode()).hexdigest()[:24]
        stem = re.sub(r"[^\w.-]", "_", shard.url.rpartition("/")[2].removesuffix(".tar"))[-60:]
        return self._folder / f"{stem}-{digest}.tar"

    def _fetch(self, shard: ShardFile, path: Path) -> Bytes:
        """Make room, fetch and check the shard, then rename it. The caller holds the shard's lock."""
        part = path.with_suffix(".part")
        part.unlink(missing_ok=True)  # of a process that died
        try:
            with open(part, "w+b") as file:
                share(file)  # so that nobody removes it before it is mapped
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
    """Try whether an existing folder can be a cache.

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
    """Map a local shard's bytes into memory.

    Raises:
        ShardError: it is missing, of another size than its index says, or cannot be read.
    """
    try:
        with open(shard.url, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size != shard.bytes:
                raise ShardError(f"shard {shard.url} has {size} bytes, its index says {shard.bytes}; copy it again")
            os.pread(file.fileno(), 1, 0)  # where this hangs, others go on: a page of a map is waited for with the GIL
            return _mapped(file.fileno())
    except (OSError, ValueError) as error:
        raise ShardError(f"shard {shard.url} cannot be read ({error}); copy it again or pack anew") from error


def check_inside(path: str, folder: str) -> None:
    """Refuse a file outside the index's folder: a link could lead to any file of this machine.

    Args:
        path: of a shard, or a folder of shards.
        folder: of the index.

    Raises:
        ShardError: `path` is a link to outside `folder`.
    """
    inside = os.path.realpath(folder)
    if os.path.commonpath([os.path.realpath(path), inside]) != inside:
        raise ShardError(f"{path} is a link to outside its folder; shards must lie beside their index")


def _mapped(descriptor: int) -> Bytes:
    if os.fstat(descriptor).st_size == 0:
        return b""
    return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)


def _open_whole(path: Path, shard: ShardFile) -> Bytes | None:
    """The cached shard, marked as used now and locked against removal while it is mapped; None if it is absent."""
    try:
        with open(path, "rb") as file:
            share(file)  # the map shares the open file, and with it the lock
            if os.fstat(file.fileno()).st_size != shard.bytes:
                return None
            with contextlib.suppress(OSError):
                os.utime(path)
            return _mapped(file.fileno())
    except FileNotFoundError:
        return None


def _allocate(descriptor: int, size: int) -> None:
    """Reserve the space, so that a full disk is noticed before anything is fetched."""
    try:
        if size:
            os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno not in NO_ALLOCATING:
            raise
