"""A member's checkpoints: everything it needs to go on, in files that are either whole or not there.

In: the training state. Out: `step-STEP-SHA256.pt` files in a folder and, if asked, at a URL, written by a
background thread. The checksum is in the name, so that file and checksum appear in one move on disks and stores
alike. Read back with `weights_only`: a checkpoint from elsewhere cannot run code.
"""

import contextlib
import hashlib
import io
import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from platform.config.data import StorageConfig
from platform.config.training import CheckpointConfig
from platform.data.storage import Storage
from platform.data.store_errors import StorageError
from platform.data.urls import is_remote, join
from platform.files import remove_unfinished
from platform.text import first_line
from platform.training import checkpoint_files as files
from platform.training.checkpoint_copies import Copies
from platform.training.checkpoint_files import SUFFIX, Saved
from platform.training.copy_place import CopyPlace

log = logging.getLogger("platform.training")
State = dict[str, Any]  # tensors and plain values, nested; `step` is in it
WAITING_EVERY_S = 0.5


class CheckpointError(RuntimeError):
    """Checkpoints that can be neither written nor read. The message says where, why and what to do."""


class Checkpoints:
    """The checkpoints of one member. Close it (or use `with`): it waits for what is being written.

    One thread writes to the folder, another copies from there, so that a store that hangs delays copies only.

    Args:
        folder: where each is written first, and read from.
        config: how many are kept, and how many failures are borne.
        storage: for `copy_to`: retries and time limits.
        copy_to: another folder or URL for the same; what could not be copied is with the next one. None: no copy.
    """

    def __init__(
        self, folder: Path, config: CheckpointConfig, storage: StorageConfig | None = None, copy_to: str | None = None
    ) -> None:
        self.folder, self._config = folder, config
        self._storage = Storage(storage or StorageConfig())
        self._places = [str(folder)] + ([copy_to] if copy_to else [])
        self._copy_to = copy_to
        self._copies = Copies(folder, copy_to, config.keep, self._storage) if copy_to else None
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None
        self._failures = 0  # in a row
        self._limit_s = 0.0  # that one may take to be written, or copied; follows its size
        self._copies_hang = False

    def save(
        self,
        state: State,
        *,
        best_step: int | None = None,
        wait: bool = False,
        urgent: bool = False,
        taken: Callable[[], Callable[[], None]] = lambda: lambda: None,
        waiting: Callable[[], None] = lambda: None,
    ) -> bool:
        """Take a copy of `state` and have it written; training may change it at once.

        Args:
            state: what to write.
            best_step: the checkpoint that is kept for its score.
            wait: return when it is written, and copied or not.
            urgent: wait for the one before. Otherwise nothing is taken while that is being written.
            taken: is called when it will be written; what it returns, when it is and a copy was tried (by a thread).
            waiting: is called again and again while this waits.

        Returns:
            whether it was taken.

        Raises:
            CheckpointError: as many in a row as `checkpoint.max_failures` could not be written anywhere.
        """
        if self._writing and not (wait or urgent) and not self._writing.done():
            return False
        self._finish_write(waiting)
        taken_now = _on_host(state)
        self._limit_s = self._storage.longest_s(_bytes_of(taken_now))
        self._writing = self._writer.submit(self._write, taken_now, best_step, taken())
        if wait:
            self._finish_write(waiting)
            self._wait_for_copies(waiting)
        return True

    def _wait_for_copies(self, waiting: Callable[[], None]) -> None:
        """Each call has a time limit; several together may still take longer than anybody should wait."""
        under_way = self._copies.under_way if self._copies else None
        if under_way and not self._copies_hang and not _wait(under_way, waiting, self._limit_s):
            self._copies_hang = True
            log.warning(
                "copies of checkpoints to %s have taken %.0f s; training goes on without waiting for them",
                self._copy_to, self._limit_s,
            )  # fmt: skip

    def load(self) -> State | None:
        """The newest whole checkpoint, or None where there is none. Ones that are not whole are reported.

        Raises:
            CheckpointError: there are checkpoints, but none is whole; or whether there are any cannot be told.
            StorageError: one cannot be read now. It may be whole: another start tries again.
        """
        self._remove_unfinished()
        found, unusable = self._all(), []
        for saved, place in sorted(found, key=lambda each: -each[0].step):  # of equal ones, the folder's first
            content = self._storage.read(join(place, saved.name))
            try:
                state = _state(content, saved)
            except Exception as error:  # whatever torch says of bytes from anywhere
                log.warning(
                    "checkpoint %s is unusable (%s); trying the one before", join(place, saved.name), first_line(error)
                )
                unusable.append((place, saved))
                continue
            for each in unusable:
                _set_aside(*each)
            return state
        if found:
            raise CheckpointError(
                f"none of the {len(found)} checkpoints in {' and '.join(self._places)} can be used; "
                "bring one back, or give fresh=true to start anew"
            )
        return None

    def load_step(self, step: int) -> State:
        """The checkpoint of this very step.

        Raises:
            CheckpointError: it is not there, or not whole.
            StorageError: it cannot be read now.
        """
        for saved, place in self._all():
            if saved.step == step:
                content = self._storage.read(join(place, saved.name))
                with contextlib.suppress(Exception):  # whatever torch says of bytes from anywhere
                    return _state(content, saved)
        raise CheckpointError(
            f"the checkpoint of step {step}, which training.weights=best asks for, is not in "
            f"{' and '.join(self._places)}, or not whole; give training.weights=last under another name"
        )

    def _all(self) -> list[tuple[Saved, str]]:
        """Every checkpoint and its place. A store that does not answer matters only where the folder has none."""
        here, *copies = self._places
        found = [(saved, here) for saved in files.listed(here, self._storage)]
        for place in copies:
            try:
                found += [(saved, place) for saved in CopyPlace(place, self._storage).listed()]
            except StorageError as error:
                if not found:
                    raise CheckpointError(
                        f"whether there are checkpoints in checkpoint.copy_to cannot be told ({error})"
                    ) from error
                log.warning("copies of checkpoints are not at hand (%s); those in %s will do", error, here)
        return found

    def close(self) -> None:
        """Wait until what was taken is written, and copied unless copies hang."""
        self._writer.shutdown(wait=True)
        self._wait_for_copies(lambda: None)
        if self._copies:
            self._copies.close(wait=not self._copies_hang)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind:
            self._storage.give_up()  # copies can wait, whoever ends this cannot
        self.close()

    def _finish_write(self, waiting: Callable[[], None] = lambda: None) -> None:
        """Wait for the writer, and count what it could not do."""
        writing, self._writing = self._writing, None
        if writing is None:
            return
        if not _wait(writing, waiting, self._limit_s):
            wait_for([writing])  # the disk hangs: from now on the worker counts as stalled
        try:
            writing.result()
            self._failures = 0
        except OSError as error:
            self._failures += 1
            if self._failures >= self._config.max_failures:
                raise CheckpointError(
                    f"{self._failures} checkpoints in a row could not be written ({first_line(error)}); make room in "
                    f"{' or '.join(self._places)}, then the same command goes on from the newest one"
                ) from error

    def _write(self, state: State, best_step: int | None, written: Callable[[], None]) -> None:
        """Runs in the writer's thread.

        Raises:
            OSError: no place took it.
        """
        buffer = io.BytesIO()
        torch.save(state, buffer)
        content = buffer.getbuffer()
        saved = Saved(int(state["step"]), hashlib.sha256(content).hexdigest()[:16])
        try:
            files.write_whole(self.folder / saved.name, content)
            here = files.listed(str(self.folder), self._storage)
            for old in files.superfluous(here, saved, self._config.keep, best_step):
                files.remove(str(self.folder), old, self._storage)
        except OSError as error:
            if self._copy_to is None:
                log.warning(
                    "a checkpoint could not be written (%s); training goes on, failure %d of at most "
                    "checkpoint.max_failures=%d",
                    first_line(error), self._failures + 1, self._config.max_failures,
                )  # fmt: skip
                raise
            CopyPlace(self._copy_to, self._storage).put(saved, content)
            log.warning("checkpoint of step %d is in %s only: %s", saved.step, self._copy_to, first_line(error))
        if self._copies:
            self._copies.soon(saved, best_step, written)
        else:
            written()

    def _remove_unfinished(self) -> None:
        """Left by a writer that was killed; there is only one writer."""
        remove_unfinished(self.folder)


def _wait(future: "Future[None]", waiting: Callable[[], None], limit_s: float) -> bool:
    """Wait until it is done, however it ended; False if it is not within `limit_s` seconds."""
    end = time.monotonic() + limit_s
    while not wait_for([future], timeout=WAITING_EVERY_S).done:
        if time.monotonic() > end:
            return False
        waiting()
    return True


def _state(content: bytes, saved: Saved) -> State:
    """The state in the bytes of a file.

    Raises:
        Exception: it is not what its name says; torch may raise anything.
    """
    if hashlib.sha256(content).hexdigest()[:16] != saved.digest:
        raise ValueError("its checksum does not match")
    state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    if not isinstance(state, dict) or state.get("step") != saved.step:
        raise ValueError("it does not hold what its name says")
    return state


def save_whole(path: Path, state: State) -> None:
    """Write tensors to a file that is whole or not there, with its folder.

    Raises:
        StorageError: the disk does not take it.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    files.write_whole(path, buffer.getbuffer())


def newest_step(folder: Path) -> int:
    """The step of the newest checkpoint in a folder; -1 where there is none."""
    return max((saved.step for path in folder.glob(f"*{SUFFIX}") if (saved := Saved.of(path.name))), default=-1)


def _on_host(value: Any) -> Any:
    """A copy on the CPU."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)  # sync point
    if isinstance(value, dict):
        return {key: _on_host(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_on_host(each) for each in value]
    return value


def _bytes_of(value: Any) -> int:
    """Of the tensors in a state."""
    if isinstance(value, Tensor):
        return value.nbytes
    each = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return sum(map(_bytes_of, each))


def _set_aside(place: str, saved: Saved) -> None:
    """Keep an unusable file for whoever looks into it, out of the way of the next ones."""
    path = Path(place) / saved.name
    if not is_remote(place) and path.exists():
        path.replace(path.with_name(path.name + ".unusable"))
