"""The files of checkpoints: how they are named, listed and written, and which of them are kept.

In: a place, a folder or a URL. Out: what is there. The checksum is in the name, so that file and checksum appear in one
move on disks and stores alike.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from platform.data.storage import Storage
from platform.data.store_errors import NoSuchFile, StorageError
from platform.data.urls import is_remote, join
from platform.files import write_atomically

SUFFIX = ".pt"


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


def listed(place: str, storage: Storage) -> list[Saved]:
    """What is at a place.

    Raises:
        StorageError: it does not say.
    """
    try:
        names = [name for name, _ in storage.list(place, SUFFIX)]
    except NoSuchFile:
        return []
    return [saved for name in names if (saved := Saved.of(name))]


def put(place: str, saved: Saved, content: memoryview, storage: Storage) -> None:
    """Write a checkpoint whole or not at all.

    Raises:
        StorageError: the place does not take it.
    """
    if is_remote(place):
        storage.write(join(place, saved.name), bytes(content))
    else:
        write_whole(Path(place) / saved.name, content)


def remove(place: str, saved: Saved, storage: Storage) -> None:
    """Remove a checkpoint if it is there.

    Raises:
        OSError: the place refuses.
    """
    if is_remote(place):
        storage.remove(join(place, saved.name))
    else:
        (Path(place) / saved.name).unlink(missing_ok=True)


def superfluous(there: Iterable[Saved], newest: Saved, keep: int, best_step: int | None) -> list[Saved]:
    """All but the newest ones and the best one. Ones of later steps are of no use, or it would be beyond; one of the
    same step knew less."""
    ordered = sorted(there)
    before = [saved for saved in ordered if saved.step < newest.step]
    kept = [newest, *(before[-keep + 1 :] if keep > 1 else [])]
    return [saved for saved in ordered if saved not in kept and (saved.step != best_step or saved.step == newest.step)]


def write_whole(path: Path, content: memoryview) -> None:
    """Write a file whole or not at all, with its folder.

    Raises:
        StorageError: the disk does not take it; it names the file.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror or error}") from error
