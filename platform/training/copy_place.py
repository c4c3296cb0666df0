"""Where copies of checkpoints go, each call with a time limit: a store, or a folder whose file system may hang.

In: a folder or a URL. Out: what is there, or an error. A store has limits of its own. A call to a folder runs on a
daemon thread, which is left alone where it does not return: no more than `MOST_HANGING` of a process, as each holds
what it writes.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from platform.data.limits import TimeLimit, TimeLimitPassed
from platform.data.storage import LISTING_PIECES, Storage, pieces_of
from platform.data.store_errors import StorageError
from platform.data.urls import is_remote
from platform.training import checkpoint_files as files
from platform.training.checkpoint_files import Saved

T = TypeVar("T")
MOST_HANGING = 2  # calls to folders that have not returned; until one does, further ones fail at once
_hanging: dict[int, Any] = {}
_beside = TimeLimit(_hanging, MOST_HANGING)


def hanging() -> int:
    """How many calls to folders were left alone, and have not returned yet."""
    return len(_hanging)


class CopyPlace:
    """A folder or a URL. Every call raises StorageError where it does not answer, or refuses."""

    def __init__(self, place: str, storage: Storage) -> None:
        self.place, self.storage = place, storage

    def listed(self) -> list[Saved]:
        """The checkpoints there, in no order."""
        return self._in_time(partial(files.listed, self.place, self.storage), LISTING_PIECES)

    def put(self, saved: Saved, content: memoryview) -> None:
        """Write a checkpoint whole or not at all. What a folder takes too late may still come there."""
        self._in_time(partial(files.put, self.place, saved, content, self.storage), pieces_of(len(content)))

    def remove(self, saved: Saved, storage: Storage) -> None:
        """Remove a checkpoint if it is there.

        Args:
            saved: the checkpoint.
            storage: reaches a store for that.
        """
        self._in_time(partial(files.remove, self.place, saved, storage), 1)

    def _in_time(self, call: Callable[[], T], pieces: int) -> T:
        if is_remote(self.place):
            return call()
        limit_s = self.storage.config.timeout_s * pieces
        try:
            return _beside.run(call, limit_s)
        except TimeLimitPassed as error:
            raise StorageError(
                f"{self.place} hangs ({error}; storage.timeout_s is {self.storage.config.timeout_s:g}); look at its "
                "file system"
            ) from None
