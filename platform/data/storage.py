"""Files at a path or a URL: HTTP(S), S3, GCS and whatever else fsspec speaks, with retries and time limits.

In: a URL. Out: all bytes, or an error that names it. Plain paths are files of this machine and are never fetched.
"""

import contextlib
import hashlib
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import fsspec
from fsspec.asyn import AsyncFileSystem
from fsspec.exceptions import FSTimeoutError
from fsspec.implementations.local import LocalFileSystem

from platform.config.data import StorageConfig
from platform.data.attempts import LONGEST_PAUSE_S, Attempts
from platform.data.limits import TimeLimit, TimeLimitPassed
from platform.data.listing import files_below, found_below
from platform.data.reads import reads
from platform.data.store_errors import NoSuchFile, StorageError, WrongChecksum, errors_of, unknown_of
from platform.data.urls import is_remote
from platform.files import replacing, write_atomically
from platform.redaction import redacted, unsealed

PIECE_BYTES = 8 * 2**20  # of one request: what a failure repeats, and what must come within `storage.timeout_s`
LISTING_PIECES = 10  # a listing may take so many times `storage.timeout_s`, where it is one call
T = TypeVar("T")


@dataclass
class Traffic:
    """What this process has fetched over the network so far."""

    bytes: int = 0
    retries: int = 0


_beside = TimeLimit({})  # one, as fsspec keeps its connections by thread


class Storage:
    """Files at paths and URLs, with the retries and time limits of one config. Thread-safe."""

    def __init__(self, config: StorageConfig) -> None:
        self.config = config
        self.traffic = Traffic()
        self._lock = threading.Lock()
        self._attempts = Attempts(config, self._count_retry)

    def give_up(self) -> None:
        """Stop other threads' transfers: no piece is tried again, and no new one begins."""
        self._attempts.given_up.set()

    def __reduce__(self) -> tuple[Any, ...]:
        return Storage, (self.config,)

    def know(self, url: str) -> None:
        """Check that a URL is of a known kind, without any request.

        Raises:
            StorageError: it is not.
        """
        if is_remote(url) and _is_asynchronous(url):  # making any other file system would connect
            self._files(url)

    def read(self, url: str, most: int | None = None) -> bytes:
        """Read a small file as a whole.

        Args:
            url: of the file.
            most: bytes that it may have; no more than one further is asked for. None: any number.

        Raises:
            NoSuchFile: it is not there.
            StorageError: it cannot be read, or has more than `most` bytes.
        """
        if not is_remote(url):
            with reads.under_way(url), errors_of(url), open(url, "rb") as file:
                content = file.read(-1 if most is None else most + 1)
        else:
            part = {} if most is None else {"start": 0, "end": most + 1}
            content = self._retried(url, lambda files, path: files.cat_file(path, **part, **self._limit(files)))
            self._count(len(content))
        if most is not None and len(content) > most:
            raise StorageError(f"{redacted(url)} has more than {most:,} bytes")
        return content

    def fetch(self, url: str, size: int, md5: str, file: BinaryIO) -> None:
        """Copy a remote file of `size` bytes into `file`, in pieces; only a failed piece is requested again.

        Args:
            url: of the file.
            size: in bytes.
            md5: hexadecimal; "" is not checked. After a wrong one the whole file is fetched again.
            file: written from its beginning.

        Raises:
            NoSuchFile: it is not there.
            StorageError: it cannot be read, is shorter, or of another checksum.
        """

        def whole() -> None:
            file.seek(0)
            if self._attempts.given_up.is_set():
                raise OSError("given up")
            found = hashlib.md5(usedforsecurity=False)
            done = 0
            while done < size:
                piece = self._piece(url, done, min(done + PIECE_BYTES, size), size)
                found.update(piece)
                file.write(piece)
                done += len(piece)
            if md5 and found.hexdigest() != md5:
                raise WrongChecksum(f"its checksum is {found.hexdigest()}, the index says {md5}")

        self._attempts.make(url, whole, lambda error: isinstance(error, WrongChecksum))

    def _piece(self, url: str, start: int, stop: int, size: int) -> bytes:
        """The bytes start .. stop - 1; all of them from `start` on where the server sends nothing less."""

        def get(files: Any, path: str) -> bytes:
            piece = files.cat_file(path, start=start, end=stop, **self._limit(files))
            self._count(len(piece))
            if len(piece) == size > stop - start:  # the server ignores ranges and has sent all of it
                return piece[start:]
            if len(piece) != stop - start:
                why = "it was cut short" if len(piece) < stop - start else "it is another file than the index says"
                raise OSError(f"{len(piece)} bytes came where {stop - start} were asked for: {why}")
            return piece

        return self._retried(url, get)

    def list(self, url: str, suffix: str | tuple[str, ...]) -> list[tuple[str, int]]:
        """List the files below a folder, at any depth, whose names end in `suffix` or in one of them.

        Returns:
            (name below `url`, size in bytes), sorted by name.

        Raises:
            StorageError: there is no such folder, or it cannot be listed.
        """
        if not is_remote(url):
            folder = Path(url)
            with reads.under_way(url):
                if not folder.is_dir():
                    raise NoSuchFile(f"{url} is no folder; check the path")
                return sorted(files_below(folder, suffix))

        def find(files: Any, path: str) -> "list[tuple[str, str, int | None]]":
            return found_below(files, path, suffix, self._limit(files, LISTING_PIECES))

        found = self._retried(url, find, pieces=LISTING_PIECES)
        return sorted((name, self._size_of(url, full) if size is None else size) for name, full, size in found)

    def _size_of(self, url: str, name: str) -> int:
        """Size in bytes of a file that a listing of `url` names without its size."""
        return int(self._retried(url, lambda files, _: files.size(name, **self._limit(files))) or 0)

    def write(self, url: str, content: bytes) -> None:
        """Make or replace a file.

        Raises:
            StorageError: the store refuses.
        """
        if not is_remote(url):
            with errors_of(url):
                Path(url).parent.mkdir(parents=True, exist_ok=True)
                write_atomically(Path(url), content)
            return
        pieces = pieces_of(len(content))

        def put(files: Any, path: str) -> None:
            if isinstance(files, LocalFileSystem):
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                write_atomically(Path(path), content)
            else:
                files.pipe_file(path, content, **self._limit(files, pieces))

        self._retried(url, put, doing="written", pieces=pieces)

    def upload(self, file: Path, url: str) -> None:
        """Copy a local file to a URL; stores show it whole or not at all.

        Raises:
            StorageError: the store refuses.
        """
        pieces = pieces_of(file.stat().st_size)

        def put(files: Any, path: str) -> None:
            if isinstance(files, LocalFileSystem):
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                _copy_whole(file, Path(path))
            else:
                files.put_file(str(file), path, **self._limit(files, pieces))

        self._retried(url, put, doing="written", pieces=pieces)

    def size(self, url: str) -> int | None:
        """Size in bytes of the file at a URL; None where there is none.

        Raises:
            StorageError: the store does not answer.
        """
        try:
            return int(self._retried(url, lambda files, path: files.info(path, **self._limit(files)))["size"])
        except NoSuchFile:
            return None

    def remove(self, url: str) -> None:
        """Remove a file, or a folder with its content, if it is there.

        A store without time limits of its own may still do it after the limit has passed, as with `write` and `upload`.

        Raises:
            StorageError: the store refuses.
        """
        if not is_remote(url):
            with errors_of(url), contextlib.suppress(FileNotFoundError):
                shutil.rmtree(url) if Path(url).is_dir() else Path(url).unlink()
            return
        with contextlib.suppress(NoSuchFile):
            self._retried(
                url, lambda files, path: files.rm(path, recursive=True, **self._limit(files)), doing="removed"
            )

    def _files(self, url: str) -> tuple[Any, str]:
        """(file system, the path it knows the file by). Without fsspec's memory of listings: in a folder that was once
        listed it does not find what other processes have written since."""
        with unknown_of(url):
            files, path = fsspec.core.url_to_fs(unsealed(url))
        files.invalidate_cache()  # the setting for that is not known to every kind of store
        return files, path

    def _connected(self, url: str, get: Callable[[Any, str], T]) -> T:
        """Call `get` on the connection that fsspec keeps; after a failure the next attempt makes a new one."""
        files, path = self._files(url)
        try:
            return get(files, path)
        except FileNotFoundError:  # the store has answered
            raise
        except Exception:
            type(files).clear_instance_cache()
            raise

    def _limit(self, files: Any, pieces: int = 1) -> dict[str, float]:
        """fsspec's time limit of one call, which it has for its asynchronous file systems (HTTP, S3, GCS, ...)."""
        return {"timeout": self.config.timeout_s * pieces} if isinstance(files, AsyncFileSystem) else {}

    def longest_s(self, size: int) -> float:
        """Upper limit in seconds for a file of `size` bytes, all attempts and pauses together."""
        return self.config.attempts * (self.config.timeout_s * pieces_of(size) + LONGEST_PAUSE_S)

    def _retried(self, url: str, get: Callable[[Any, str], T], *, doing: str = "read", pieces: int = 1) -> T:
        """Call `get(file system, path)` until it succeeds; its time limit is that of so many pieces."""
        limit_s = self.config.timeout_s * pieces
        if _is_asynchronous(url):
            call = partial(get, *self._files(url))
        else:
            call = partial(_beside.run, partial(self._connected, url, get), limit_s)  # with the time to connect

        def in_time() -> T:
            try:
                return call()
            except (FSTimeoutError, TimeLimitPassed):
                raise TimeoutError(f"not done within {limit_s:g} s (storage.timeout_s)") from None

        return self._attempts.make(url, in_time, doing=doing)

    def _count(self, read: int) -> None:
        with self._lock:
            self.traffic.bytes += read

    def _count_retry(self) -> None:
        with self._lock:
            self.traffic.retries += 1


def _copy_whole(file: Path, place: Path) -> None:
    with replacing(place) as unfinished:
        shutil.copyfile(file, unfinished)


def _is_asynchronous(url: str) -> bool:
    """Whether its file system has time limits of its own.

    Raises:
        StorageError: there is none of this kind.
    """
    with unknown_of(url):
        outermost = url.partition("::")[0].partition("://")[0]
        return issubclass(fsspec.get_filesystem_class(outermost), AsyncFileSystem)


def pieces_of(size: int) -> int:
    """In how many pieces so many bytes are read or written, at least one."""
    return max(1, -(-size // PIECE_BYTES))
