"""A member's checkpoints: everything it needs to go on, in files that are either whole or not there.

In: the training state. Out: `step-STEP-SHA256.pt` files in a folder and, if asked, at a URL, written by a
background thread. The checksum is in the name, so that file and checksum appear in one move on disks and stores
alike. Read back with `weights_only`: a checkpoint from elsewhere cannot run code.
"""

import contextlib
import hashlib
import io
import logging
import re
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from platform.config.data import StorageConfig
from platform.config.training import CheckpointConfig
from platform.data.storage import NoSuchFile, Storage, StorageError, is_remote, join
from platform.files import remove_unfinished, write_atomically
from platform.text import first_line

log = logging.getLogger("platform.training")
State = dict[str, Any]  # tensors and plain values, nested; `step` is in it
SUFFIX = ".pt"
WAITING_EVERY_S = 0.5


class CheckpointError(RuntimeError):
    """Checkpoints that can be neither written nor read. The message says where, why and what to do."""


@dataclass(frozen=True, order=True)
class Saved:
    """One checkpoint, by its name."""

    step: int
    digest: str  # the first 16 hexadecimal digits of its SHA-256

    @property
    def name(self) -> str:
        """Of its file."""
        return f"step-{self.step:09d}-{self.digest}{SUFFIX}"

    @classmethod
    def of(cls, name: str) -> "Saved | None":
        """The checkpoint whose file has this name; None: it is no checkpoint's."""
        match = re.fullmatch(rf"step-(\d+)-([0-9a-f]{{16}}){re.escape(SUFFIX)}", name)
        return cls(int(match[1]), match[2]) if match else None


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
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._copier = ThreadPoolExecutor(1, thread_name_prefix="copies of checkpoints")
        self._writing: Future[None] | None = None
        self._copying: Future[None] | None = None
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
        """A store has time limits of its own; a folder that hangs (a network file system) has none."""
        if self._copying and not self._copies_hang and not _wait(self._copying, waiting, self._limit_s):
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
        found = [(saved, here) for saved in self._list(here)]
        for place in copies:
            try:
                found += [(saved, place) for saved in self._list(place)]
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
        self._copier.shutdown(wait=not self._copies_hang)

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
            _write_whole(self.folder / saved.name, content)
            self._tidy(str(self.folder), saved, best_step)
        except OSError as error:
            if self._copy_to is None:
                log.warning(
                    "a checkpoint could not be written (%s); training goes on, failure %d of at most "
                    "checkpoint.max_failures=%d",
                    first_line(error), self._failures + 1, self._config.max_failures,
                )  # fmt: skip
                raise
            self._put(self._copy_to, saved, content)
            log.warning("checkpoint of step %d is in %s only: %s", saved.step, self._copy_to, first_line(error))
        if self._copy_to:
            self._copying = self._copier.submit(self._copy, self._copy_to, saved, best_step, written)
        else:
            written()

    def _copy(self, place: str, newest: Saved, best_step: int | None, written: Callable[[], None]) -> None:
        """Runs in the copier's thread: all that is in the folder and not there, also from when the store was away."""
        try:
            for saved in sorted(set(self._list(str(self.folder))) - set(self._list(place))):
                with contextlib.suppress(FileNotFoundError):  # newer ones have taken its place meanwhile
                    self._put(place, saved, memoryview((self.folder / saved.name).read_bytes()))
            self._tidy(place, newest, best_step)
        except OSError as error:
            log.warning("checkpoint of step %d is not copied: %s", newest.step, first_line(error))
        finally:
            written()

    def _put(self, place: str, saved: Saved, content: memoryview) -> None:
        if is_remote(place):
            self._storage.write(join(place, saved.name), bytes(content))
        else:
            _write_whole(Path(place) / saved.name, content)

    def _tidy(self, place: str, newest: Saved, best_step: int | None) -> None:
        """Remove all but the newest ones and the best one. Ones of later steps are of no use, or it would be beyond;
        one of the same step knew less."""
        listed = sorted(self._list(place))
        before = [saved for saved in listed if saved.step < newest.step]
        kept = [newest, *(before[-self._config.keep + 1 :] if self._config.keep > 1 else [])]
        for saved in listed:
            if saved not in kept and (saved.step != best_step or saved.step == newest.step):
                if is_remote(place):
                    self._storage.remove(join(place, saved.name))
                else:
                    (Path(place) / saved.name).unlink(missing_ok=True)

    def _list(self, place: str) -> list[Saved]:
        """What is at a place.

        Raises:
            StorageError: it does not say.
        """
        try:
            names = [name for name, _ in self._storage.list(place, SUFFIX)]
        except NoSuchFile:
            return []
        return [saved for name in names if (saved := Saved.of(name))]

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
    _write_whole(path, buffer.getbuffer())


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


def _write_whole(path: Path, content: memoryview) -> None:
    """Write a file whole or not at all; the error names it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror or error}") from error


def _set_aside(place: str, saved: Saved) -> None:
    """Keep an unusable file for whoever looks into it, out of the way of the next ones."""
    path = Path(place) / saved.name
    if not is_remote(place) and path.exists():
        path.replace(path.with_name(path.name + ".unusable"))
