"""Storage that shards are written to: files put at a URL, looked at and removed, with storage's retries."""

import contextlib
from pathlib import Path

from fsspec.implementations.local import LocalFileSystem

from platform.data.storage import NoSuchFile, Storage, StorageError


class Store(Storage):
    """Storage that shards are written to."""

    def upload(self, path: Path, url: str) -> None:
        """Copy a file to a URL, whole or not at all as the stores have it.

        Raises:
            StorageError: the store refuses.
        """
        files, remote = self._files(url)
        try:
            if isinstance(files, LocalFileSystem):  # stores have no folders to make
                files.makedirs(remote.rpartition("/")[0], exist_ok=True)
            self._retried(url, lambda: files.put_file(str(path), remote))
        except StorageError as error:
            raise StorageError(str(error).replace("cannot be read", "cannot be written")) from error

    def size(self, url: str) -> int | None:
        """In bytes; None where there is no such file."""
        files, remote = self._files(url)
        try:
            return int(self._retried(url, lambda: files.info(remote, **self._limit(files)))["size"])
        except NoSuchFile:
            return None

    def remove(self, url: str) -> None:
        """Remove a file, or a folder with what is in it, if it is there."""
        files, remote = self._files(url)
        with contextlib.suppress(NoSuchFile):
            self._retried(url, lambda: files.rm(remote, recursive=True))
