"""Samples of open shards: the members of a tar found once, then images by slicing. Nothing is ever unpickled.

In: a shard's bytes. Out: encoded images and their labels, by place, from any thread.
"""

import json
import tarfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from platform.data.cache import Bytes, Cache, ShardError, ShardFile
from platform.data.storage import is_remote

IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "webp")  # all that is ever decoded; nothing here can execute code
OPEN_SHARDS = 512  # at once, unless what is being read needs more
IDLE_S = 60.0  # after which a remote shard is no longer held against its cache's evicting it
LARGEST_LABEL = 2**31


@dataclass(slots=True)
class Sample:
    """One sample as stored; its image is a view of the shard's bytes, which stay as long as it does."""

    key: str
    image: memoryview
    label: int


@dataclass(frozen=True)
class LabelRule:
    """Where a sample's label is: the member `extension`, of which the JSON `field` if one is named."""

    extension: str = "cls"
    json_field: str = ""
    numbers: dict[str, int] = field(default_factory=dict)  # of labels that are names

    @classmethod
    def of(cls, spec: str, classes: tuple[str, ...] = ()) -> "LabelRule":
        """`cls`, `txt`, `json:FIELD`, ...; labels that are no integers are looked up in `classes`."""
        extension, _, json_field = spec.partition(":")
        return cls(extension.lower(), json_field, {name: number for number, name in enumerate(classes)})

    def value(self, member: bytes) -> str:
        """The label as text.

        Raises:
            ValueError, KeyError: there is none.
        """
        if not self.json_field:
            return member.decode().strip()
        value = json.loads(member)[self.json_field]
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise ValueError(f"{self.json_field} is {value!r}")
        return str(value)

    def label(self, member: bytes) -> int:
        """The label as a number. Raises as `value` does."""
        text = self.value(member)
        number = self.numbers.get(text) if not text.lstrip("-").isdigit() else None
        if number is None:
            number = int(text)
            if abs(number) > LARGEST_LABEL:
                raise ValueError("it is beyond any number of classes")
        return number


CLS = LabelRule()


class ShardReader:
    """The samples of one shard.

    Raises:
        ShardError: it is no tar, torn, holds another number of samples than its index says, or one without an image
            or label.
    """

    def __init__(self, shard: ShardFile, content: Bytes, label: LabelRule = CLS) -> None:
        self._content = memoryview(content)
        try:
            samples = samples_of(content)
        except (ValueError, tarfile.TarError) as error:
            raise ShardError(f"shard {shard.url} is torn or no tar ({error}); copy it again or pack anew") from error
        if len(samples) != shard.samples:
            raise ShardError(
                f"shard {shard.url} holds {len(samples)} samples, its index says {shard.samples}; pack it again"
            )
        self._places = np.empty((len(samples), 3), np.int64)  # offset and size of the image, label
        for place, (key, parts) in enumerate(samples.items()):
            image = next((parts[extension] for extension in IMAGE_EXTENSIONS if extension in parts), None)
            if image is None or label.extension not in parts:
                raise ShardError(
                    f"sample {key} of {shard.url} has {', '.join(parts)}; it needs an image and a {label.extension}"
                )
            offset, size = parts[label.extension]
            number = _label(label, content[offset : offset + size], key, shard)
            self._places[place] = *image, number
        self._keys = list(samples)
        self.used = time.monotonic()

    def read(self, place: int) -> Sample:
        offset, size, label = self._places[place].tolist()
        return Sample(self._keys[place], self._content[offset : offset + size], label)


def _label(rule: LabelRule, member: bytes, key: str, shard: ShardFile) -> int:
    try:
        return rule.label(member)
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise ShardError(
            f"sample {key} of {shard.url} has the label {member[:20]!r}, neither an integer nor the name of a class"
        ) from error


def samples_of(content: Bytes) -> dict[str, dict[str, tuple[int, int]]]:
    """Members of a tar grouped into samples: key -> {extension: (offset, size)}, in the order of the file.

    Raises:
        ValueError, tarfile.TarError: torn, or no tar.
    """
    samples: dict[str, dict[str, tuple[int, int]]] = {}
    for name, offset, size in _members(content):
        folder, slash, base = name.rpartition("/")
        stem, _, extension = base.partition(".")
        parts = samples.setdefault(folder + slash + stem, {})
        if extension.lower() in parts:
            raise ValueError(f"it has two members {name}, of which one would be lost")
        parts[extension.lower()] = (offset, size)
    return samples


BLOCK = 512
FOLDER, EXTENDED = b"5", b"x"


def _members(content: Bytes) -> Iterator[tuple[str, int, int]]:
    """(name, offset, size) of each file of a tar.

    Reads what writers of shards write: plain headers, and extended ones that hold times only (stock webdataset's).
    That takes 2 us a member where `tarfile` takes 30, which per sample would be a twentieth of its decoding;
    anything else (long names, sparse files, links) is left to `tarfile`.
    """
    found: list[tuple[str, int, int]] = []
    position, end = 0, len(content)
    while position + BLOCK <= end:
        header = content[position : position + BLOCK]
        kind = header[156:157]
        if not kind.strip(b"\0") and not header.strip(b"\0"):
            return iter(found)  # the end of the archive
        if header[257:262] != b"ustar" or kind not in (b"0", b"\0", FOLDER, EXTENDED):
            return _members_of_any_tar(content)
        digits = header[124:136].strip(b"\0 ")
        if not digits.isdigit():  # a size that octal digits cannot hold, or no size
            return _members_of_any_tar(content)
        size = int(digits, 8)
        position += BLOCK
        if position + size > end:
            raise ValueError("its last member is cut short")
        if kind == EXTENDED:
            record = content[position : position + size]
            if any(key in record for key in (b" path=", b" size=", b" linkpath=", b" GNU.")):
                return _members_of_any_tar(content)
        elif kind != FOLDER:
            name = header[:100].partition(b"\0")[0]
            if header[345]:
                name = header[345:500].partition(b"\0")[0] + b"/" + name
            found.append((name.decode("utf-8", "surrogateescape"), position, size))
        position += -(-size // BLOCK) * BLOCK
    raise ValueError("the end of the archive is missing")


class _File:
    """A map or bytes as the file that `tarfile` wants."""

    def __init__(self, content: Bytes) -> None:
        self._content, self._position = content, 0

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> None:
        self._position = position

    def read(self, size: int) -> bytes:
        data = self._content[self._position : self._position + size]
        self._position += len(data)
        return data


def _members_of_any_tar(content: Bytes) -> Iterator[tuple[str, int, int]]:
    with tarfile.open(fileobj=_File(content), mode="r:") as tar:  # pyright: ignore[reportArgumentType,reportCallIssue]
        for member in tar:
            if member.isfile() and not member.issparse():
                yield member.name, member.offset_data, member.size


class OpenShards:
    """The readers of an index's shards, each opened by the first thread that asks; the longest unused are closed."""

    def __init__(self, cache: Cache, label: LabelRule) -> None:
        self.cache = cache
        self.most = OPEN_SHARDS
        self._label = label
        self._open: dict[ShardFile, ShardReader] = {}
        self._opening: dict[ShardFile, Future[ShardReader]] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return OpenShards, (self.cache, self._label)  # another process opens its own

    def reader(self, shard: ShardFile) -> ShardReader:
        """The reader of a shard; waits for a thread that is opening it. Raises as `ShardReader` and `Cache.open` do."""
        reader = self._open.get(shard)
        if reader is None:
            reader = self._opened_once(shard)
        reader.used = time.monotonic()
        return reader

    def _opened_once(self, shard: ShardFile) -> ShardReader:
        mine: Future[ShardReader] = Future()
        with self._lock:
            if shard in self._open:
                return self._open[shard]
            future = self._opening.setdefault(shard, mine)
            self._make_room()
        if future is not mine:
            return future.result()
        try:
            reader = self._opened(shard)
        except BaseException as error:
            with self._lock:
                del self._opening[shard]  # who asks again, tries again
            mine.set_exception(error)
            raise
        with self._lock:
            self._open[shard] = reader
            del self._opening[shard]
        mine.set_result(reader)
        return reader

    def _opened(self, shard: ShardFile) -> ShardReader:
        try:
            return ShardReader(shard, self.cache.open(shard), self._label)
        except ShardError:
            if not self.cache.discard(shard):
                raise
        return ShardReader(shard, self.cache.open(shard), self._label)  # a copy gone bad on disk is mended so

    def _make_room(self) -> None:
        """Drop readers for the one to come; the memory of one goes when the last thread that reads it lets go."""
        held = sum(shard.bytes for shard in (*self._open, *self._opening) if is_remote(shard.url))
        idle_since = time.monotonic() - IDLE_S
        for shard in sorted(self._open, key=lambda shard: self._open[shard].used):
            too_many = len(self._open) + len(self._opening) > self.most
            too_large = is_remote(shard.url) and held > self.cache.limit_bytes
            idle = is_remote(shard.url) and self._open[shard].used < idle_since
            if too_many or too_large or idle:
                del self._open[shard]
                held -= shard.bytes if is_remote(shard.url) else 0
