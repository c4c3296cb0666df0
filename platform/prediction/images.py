"""The images that `predict.images` names, counted before one is read: files, folders, patterns, URLs and shards.

In: what was given. Out: `Images`, whose places are in a fixed order; any process can read any range of them.
"""

import glob
import hashlib
import os
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import accumulate
from pathlib import Path
from stat import S_ISREG

from platform.config.checks import ConfigError, require
from platform.config.data import StorageConfig
from platform.data.cache import ShardError
from platform.data.index import INDEX_NAME, Split, has_index, read_index
from platform.data.storage import Storage
from platform.data.store_errors import StorageError
from platform.data.toolmade import is_tool_made
from platform.data.urls import is_remote, join
from platform.packing.items import SPLIT_NAMES, file_stamp
from platform.redaction import redacted
from platform.text import first_line

MOST_BYTES = 64 * 2**20  # of one file; a JPEG of the most pixels that are decoded has about that
KINDS = "a file, a folder, a pattern such as photos/*.jpg, a URL, or a folder or URL of shards with index.json"
PATTERN = re.compile(r"[*?\[]")
REMOTE_IMAGES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp")
TAR = ".tar"


@dataclass(frozen=True)
class Image:
    """One image as it was given: its bytes, or one line why there are none."""

    name: str
    data: bytes | None
    error: str | None = None
    label: str | int | None = None  # its class where that is known: the name, or a number that nobody has named
    split: str = ""  # of shards


@dataclass(frozen=True)
class Files:
    """Files of this machine, or URLs; below a folder the names of folders may be those of classes."""

    names: list[str]  # as given, or below `folder`
    folder: str = ""
    kind = "files"

    def __len__(self) -> int:
        return len(self.names)

    def read(self, place: int, storage: Storage) -> Image:
        """One image; what is wrong with it is in its `error`."""
        name = self.names[place]
        path = join(self.folder, name) if self.folder else name
        shown = _utf8(redacted(name))
        try:
            if not is_remote(path):
                _require_image_size(path)
            return Image(shown, storage.read(path, MOST_BYTES), label=self._folder_of(name))
        except StorageError as error:
            return Image(shown, None, _reason(error, path), self._folder_of(name))
        except OSError as error:
            return Image(shown, None, error.strerror or first_line(error), self._folder_of(name))

    def _folder_of(self, name: str) -> str | None:
        """The class folder of [train|val|test/]CLASS/.../NAME."""
        folders = name.split("/")[:-1] if self.folder else []
        if len(folders) > 1 and folders[0].lower() in SPLIT_NAMES:
            del folders[0]
        return folders[0] if folders else None

    def digest(self) -> str:
        """16 hexadecimal digits of the names, sizes and times; of URLs of the names only."""
        found = hashlib.sha256(self.folder.encode("utf-8", "surrogateescape"))
        for name in self.names:
            path = join(self.folder, name) if self.folder else name
            stamp = "" if is_remote(path) else file_stamp(Path(path))
            found.update(f"{name}\0{stamp}\n".encode("utf-8", "surrogateescape"))
        return found.hexdigest()[:16]


@dataclass(frozen=True)
class Shards:
    """One split of packed images."""

    split: Split
    classes: list[str]
    kind = "shards"

    def __len__(self) -> int:
        return self.split.samples

    def read(self, place: int, storage: Storage) -> Image:
        """One image with its label.

        Raises:
            ShardError, StorageError: its shard cannot be read.
        """
        sample = self.split.read(place)
        shard = self.split.shards[self.split.locate(place)[0]].url.rpartition("/")[2]
        label = self.classes[sample.label] if 0 <= sample.label < len(self.classes) else sample.label
        return Image(_utf8(f"{shard}#{sample.key}"), bytes(sample.image), None, label, self.split.name)

    def digest(self) -> str:
        """That of the split."""
        return self.split.digest


@dataclass(frozen=True)
class Images:
    """All of them, in order. Picklable."""

    parts: list[Files | Shards]
    storage: Storage
    left_out: list[str] = field(default_factory=list)  # sentences for people

    def __len__(self) -> int:
        return self.starts[-1]

    @property
    def starts(self) -> list[int]:
        """The first place of each part, and the end."""
        return [0, *accumulate(map(len, self.parts))]

    def read(self, place: int) -> Image:
        """The image at a place, counted from 0; raises what its part does."""
        starts = self.starts
        part = bisect_right(starts, place) - 1
        return self.parts[part].read(place - starts[part], self.storage)

    def digest(self) -> str:
        """16 hexadecimal digits that change when an image does, as far as can be told without reading them."""
        return hashlib.sha256(" ".join(part.digest() for part in self.parts).encode()).hexdigest()[:16]


def find_images(sources: list[str], split: str | None, storage: StorageConfig) -> Images:
    """List what was given; of local files and shards without reading an image.

    Args:
        sources: files, folders, patterns, URLs.
        split: of shards, which part is taken; None: all.
        storage: limits for URLs.

    Raises:
        ConfigError: one of them is not there, or has no image.
    """
    require(bool(sources), f"predict.images is not set; give {KINDS}")
    store, left_out = Storage(storage), []
    parts: list[Files | Shards] = []
    for source in sources:
        try:
            find = _remote if is_remote(source) else _local
            found = find(source, split, store, left_out)
        except (StorageError, ShardError) as error:
            raise ConfigError(f"predict.images: {error}") from error
        parts += [part for part in found if len(part)]
    require(
        split is None or any(isinstance(part, Shards) for part in parts),
        f"predict.split is {split}, but only shards have parts; leave it out",
    )
    return Images(parts, store, left_out)


def _local(source: str, split: str | None, storage: Storage, left_out: list[str]) -> list[Files | Shards]:
    path = os.path.abspath(os.path.expanduser(source))  # noqa: PTH100, PTH111
    if os.path.isdir(path):  # noqa: PTH112
        return _folder(source, path, split, storage, left_out)
    if os.path.lexists(path):
        return _shard_files([path], split, storage) if path.endswith(TAR) else [Files([path])]
    require(bool(PATTERN.search(source)), f"predict.images is {source}, which does not exist; give {KINDS}")
    names = sorted(name for name in glob.glob(path, recursive=True) if not os.path.isdir(name))  # noqa: PTH112, PTH207
    require(bool(names), f"predict.images is {source}, which no file matches; check the pattern")
    if all(name.endswith(TAR) for name in names):
        return _shard_files(names, split, storage)
    return [Files(names)]


def _folder(source: str, path: str, split: str | None, storage: Storage, left_out: list[str]) -> list[Files | Shards]:
    if has_index(path, storage.config):
        return _splits(path, split, storage)
    names = _kept(sorted(_walk(path, source)), source, left_out)
    shards = sum(name.endswith(TAR) for name in names)
    require(
        not names or shards < len(names),
        f"predict.images is {source}, a folder of {shards} tar files without {INDEX_NAME}; have one made: "
        f"job=pack pack.action=index data.source=null data.shards={source}",
    )
    require(bool(names), f"predict.images is {source}, a folder without any image; give {KINDS}")
    return [Files(names, path)]


def _kept(names: list[str], source: str, left_out: list[str]) -> list[str]:
    """All but hidden files and those of tools, which are counted."""
    kept = [name for name in names if not is_tool_made(name)]
    if hidden := len(names) - len(kept):
        left_out.append(f"{hidden} hidden file(s) and files of tools in {source}")
    return kept


def _walk(top: str, source: str) -> Iterator[str]:
    """The files below a folder, by their names in it. Links to folders are followed, once each."""

    def refuse(error: OSError) -> None:
        raise ConfigError(
            f"predict.images is {source}: {error.filename} cannot be listed ({error.strerror}); mend its access rights"
        )

    seen = {os.path.realpath(top)}
    for folder, folders, files in os.walk(top, onerror=refuse, followlinks=True):
        inside = folder[len(top) :].lstrip("/")
        for name in folders.copy():
            target = os.path.realpath(os.path.join(folder, name))  # noqa: PTH118
            if target in seen:
                folders.remove(name)
            seen.add(target)
        yield from (f"{inside}/{name}" if inside else name for name in files)


def _splits(url: str, split: str | None, storage: Storage, only: set[str] | None = None) -> list[Files | Shards]:
    """The parts of packed data; with `only` those of some shards, by their file names."""
    index = read_index(url, storage.config)
    chosen = index.splits.values() if split is None else [index.split(split)]
    found: list[Files | Shards] = []
    for each in chosen:
        shards = [shard for shard in each.shards if only is None or shard.url.rpartition("/")[2] in only]
        found.append(Shards(Split(each.name, shards, each.opened), index.classes))
    require(any(map(len, found)), f"predict.images: {redacted(url)} has no images; give others")
    return found


def _shard_files(paths: list[str], split: str | None, storage: Storage) -> list[Files | Shards]:
    """Single shards, which are read by the index beside them."""
    found: list[Files | Shards] = []
    folders = sorted({path.rpartition("/")[0] for path in paths})
    for folder in folders:
        names = {path.rpartition("/")[2] for path in paths if path.rpartition("/")[0] == folder}
        found += [part for part in _splits(folder, split, storage, names) if len(part)]
        shards = [shard for part in found if isinstance(part, Shards) for shard in part.split.shards]
        lacking = sorted(names - {shard.url.rpartition("/")[2] for shard in shards})
        require(
            not lacking or split is not None,
            f"predict.images: {', '.join(lacking[:3])} is not in {folder}/{INDEX_NAME}; index the shards anew: "
            f"job=pack pack.action=index data.source=null data.shards={folder}",
        )
    return found


def _remote(source: str, split: str | None, storage: Storage, left_out: list[str]) -> list[Files | Shards]:
    storage.know(source)
    base, name = source.rstrip("/").rpartition("/")[::2]
    if source.lower().partition("?")[0].endswith(REMOTE_IMAGES) and not PATTERN.search(source.partition("?")[0]):
        return [Files([source])]
    if source.endswith(TAR):
        return _splits(base, split, storage, {name})
    if "*" in source:
        fixed = source[: PATTERN.search(source).start()].rpartition("/")[0]  # pyright: ignore[reportOptionalMemberAccess]
        names = [join(fixed, each) for each, _ in storage.list(fixed, "") if fnmatchcase(join(fixed, each), source)]
        require(bool(names), f"predict.images is {redacted(source)}, which no file matches; check the pattern")
        return [Files(names)]
    if has_index(source, storage.config):
        return _splits(source, split, storage)
    if source.startswith(("http://", "https://")) and not source.endswith("/"):
        return [Files([source])]  # an image whose address says nothing of that
    names = _kept([each for each, _ in storage.list(source, "")], redacted(source), left_out)
    require(bool(names), f"predict.images is {redacted(source)}, where no file is; check the address")
    return [Files(names, source.rstrip("/"))]


def _require_image_size(path: str) -> None:
    """Raise OSError for what is no plain file, which might never end, or a file too large to be an image."""
    status = os.stat(path)  # noqa: PTH116
    if not S_ISREG(status.st_mode):
        raise OSError(0, "it is no file but a pipe, socket or device")
    if status.st_size > MOST_BYTES:
        raise OSError(0, f"it has {status.st_size:,} bytes, more than {MOST_BYTES:,}")


def _reason(error: StorageError, path: str) -> str:
    return first_line(error).removeprefix(redacted(path)).lstrip(": ")


def _utf8(name: str) -> str:
    """A name that every file format takes: bytes that are no UTF-8 become a mark."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
