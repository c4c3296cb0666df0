"""Copies of a member's checkpoints to another folder or a store, which may be slow, away, or hang.

In: checkpoints as they are written. Out: the newest ones there too. One copy is under way at a time and one waits; the
next takes the place of that, so that nothing piles up, however slow the store is. What is left out is said.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from platform.data.storage import Storage
from platform.text import first_line
from platform.training import checkpoint_files as files
from platform.training.checkpoint_files import Saved
from platform.training.copy_place import CopyPlace, hanging

log = logging.getLogger("platform.training")


@dataclass(frozen=True)
class _Wanted:
    """A copy to be made: of all that is in the folder, up to this checkpoint."""

    newest: Saved
    best_step: int | None
    told: list[Callable[[], None]]  # when it was tried
    before: list[Saved] = field(default_factory=list)  # whose place it takes


class Copies:
    """Copies what is in a folder to `place`, in a thread. Close it.

    Args:
        folder: of the checkpoints.
        place: another folder, or a URL.
        keep: how many there are there, besides the best one.
        storage: reaches the store, with its attempts and time limits; a folder's calls have the same limits.
    """

    def __init__(self, folder: Path, place: str, keep: int, storage: Storage) -> None:
        self._folder, self._place, self._keep, self._storage = folder, place, keep, storage
        self._there = CopyPlace(place, storage)
        self.removing = Storage(replace(storage.config, attempts=1))  # for removals: the next copy tries them again
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="copies of checkpoints")
        self._lock = threading.Lock()  # guards the next three
        self._next: _Wanted | None = None
        self._is_busy = False
        self.under_way: Future[None] | None = None  # until nothing waits
        self.made = 0  # copies that were tried
        self.left_out = 0  # checkpoints that were gone from the folder before their turn came
        self._removals_fail = False  # and that was said

    def soon(self, newest: Saved, best_step: int | None, told: Callable[[], None]) -> None:
        """Have the checkpoints in the folder copied; returns at once.

        Args:
            newest: that has just been written.
            best_step: the checkpoint that is kept for its score.
            told: is called when that was tried.
        """
        with self._lock:
            waiting = self._next
            self._next = _Wanted(
                newest,
                best_step,
                [*(waiting.told if waiting else []), told],
                [*waiting.before, waiting.newest][-2 * self._keep :] if waiting else [],
            )
            if not self._is_busy:
                self._is_busy = True
                self.under_way = self._pool.submit(self._work)

    @property
    def waiting(self) -> int:
        """Copies that wait for the one under way; never more than one."""
        return int(self._next is not None)

    def close(self, *, wait: bool) -> None:
        """End the thread.

        Args:
            wait: for what is under way.
        """
        self._pool.shutdown(wait=wait)
        if self.left_out > 1:
            log.warning(
                "%d checkpoints were not copied to %s, which takes them more slowly than they are made",
                self.left_out, self._place,
            )  # fmt: skip
        if (calls := hanging()) and wait:
            log.warning("%d call(s) to %s have not returned, and are left alone", calls, self._place)

    def _work(self) -> None:
        """Runs in the thread until nothing waits."""
        while True:
            with self._lock:
                wanted, self._next = self._next, None
                if wanted is None:
                    self._is_busy = False
                    return
            self.made += 1
            try:
                self._copy(wanted)
            except Exception as error:  # of the disk, and whatever a store's library raises
                log.warning("checkpoint of step %d is not copied: %s", wanted.newest.step, first_line(error))
            finally:
                for told in wanted.told:
                    told()

    def _copy(self, wanted: _Wanted) -> None:
        """All that is in the folder and not there, also from when the store was away."""
        there = set(self._there.listed())  # first: it may take long, and the folder changes
        listed = files.listed(str(self._folder), self._storage)
        here = {saved for saved in listed if saved.step <= wanted.newest.step}  # a later one has a copy of its own
        self._count_left_out([saved for saved in wanted.before if saved not in here | there])
        for saved in sorted(here - there):
            with contextlib.suppress(FileNotFoundError):  # newer ones have taken its place meanwhile
                content = memoryview((self._folder / saved.name).read_bytes())
                self._there.put(saved, content)
                there.add(saved)
        self._remove(files.superfluous(there, wanted.newest, self._keep, wanted.best_step))

    def _remove(self, superfluous: list[Saved]) -> None:
        """As many as `storage.timeout_s` allows, each tried once: the next checkpoint is worth more than the room of
        old ones, and its copy goes on with them."""
        until = time.monotonic() + self._storage.config.timeout_s
        for number, saved in enumerate(superfluous):
            try:
                if time.monotonic() > until:
                    raise TimeoutError(f"more than {self._storage.config.timeout_s:g} s (storage.timeout_s)")
                self._there.remove(saved, self.removing)
            except OSError as error:
                if not self._removals_fail:
                    self._removals_fail = True
                    log.warning(
                        "%d old checkpoint(s) are not removed from %s (%s); later copies try it again",
                        len(superfluous) - number, self._place, first_line(error),
                    )  # fmt: skip
                return
        self._removals_fail = False

    def _count_left_out(self, gone: list[Saved]) -> None:
        if gone and not self.left_out:
            log.warning(
                "%s takes checkpoints more slowly than they are made (checkpoint.every_s): that of step %d is not "
                "copied, the newest one is",
                self._place, gone[0].step,
            )  # fmt: skip
        self.left_out += len(gone)
