"""Samples of open shards: a tar's members are located once, images are slices of its bytes. Nothing is unpickled.

In: a shard's bytes. Out: encoded images and their labels, by place, from any thread.
"""

import json
import tarfile
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from platform.data.cache import Bytes, Cache, ShardError, ShardFile, check_inside
from platform.data.reads import reads
from platform.data.tar import LeftOut, samples_of, what_is_wrong
from platform.data.urls import is_remote

IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "webp")  # all that is ever decoded; nothing here can execute code
OPEN_SHARDS = 512  # at once, unless what is being read needs more
IDLE_S = 60.0  # after which a remote shard is no longer held against its cache's evicting it
LARGEST_LABEL = 2**31
MEMBERS_NAMED = 5  # of a sample that lacks one


@dataclass(slots=True)
class Sample:
    """One sample as stored; its encoded image is a view that keeps the shard's bytes in memory."""

    key: str
    image: memoryview
    label: int


@dataclass(frozen=True)
class SampleRule:
    """Which members of a sample are its image and its label, and which field of a label in JSON."""

    extension: str = "cls"  # of the label
    json_field: str = ""  # `a.b` is b in a
    numbers: dict[str, int] = field(default_factory=dict)  # class name -> label, where labels are names
    images: tuple[str, ...] = IMAGE_EXTENSIONS  # the first of them that a sample has

    @classmethod
    def of(cls, spec: str, classes: tuple[str, ...] = (), image: str = "") -> "SampleRule":
        """The rule that an index describes.

        Args:
            spec: extension of the label's member: `cls`, `txt`, `json:FIELD`, ...
            classes: names in the order of their labels, for labels that are not integers.
            image: extension of the image's member; "": the first of `IMAGE_EXTENSIONS` that a sample has.
        """
        extension, _, json_field = spec.partition(":")
        numbers = {name: number for number, name in enumerate(classes)}
        return cls(extension.lower(), json_field, numbers, (image.lower(),) if image else IMAGE_EXTENSIONS)

    @property
    def spec(self) -> str:
        """The label's member and field in the form that `of` takes: `cls`, `json:FIELD`."""
        return f"{self.extension}:{self.json_field}" if self.json_field else self.extension

    def image(self, parts: dict[str, tuple[int, int]]) -> tuple[int, int] | None:
        """Offset and size of a sample's image in the shard; None where it has none."""
        return next((parts[extension] for extension in self.images if extension in parts), None)

    def value(self, member: bytes) -> str:
        """The label as text, from the content of its member.

        Raises:
            ValueError, KeyError, TypeError, IndexError: it holds none.
        """
        if not self.json_field:
            return member.decode().strip()
        value = _field(json.loads(member), self.json_field)
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise ValueError(f"{self.json_field} is {value!r}")
        return str(value)

    def label(self, member: bytes) -> int:
        """The label as a number, which is not checked against the number of classes; raises what `value` does."""
        text = self.value(member)
        number = self.numbers.get(text) if not text.lstrip("-").isdigit() else None
        if number is None:
            number = int(text)
            if abs(number) > LARGEST_LABEL:
                raise ValueError("it is beyond any number of classes")
        return number


CLS = SampleRule()


def _field(content: Any, path: str) -> Any:
    """Look up `a.b` in `{"a": {"b": 1}}`, `a.0` in `{"a": [1]}`; a field that is itself named `a.b` comes first.

    Raises:
        KeyError, IndexError, TypeError, ValueError: there is none.
    """
    if isinstance(content, dict) and path in content:
        return content[path]
    for name in path.split("."):
        content = content[int(name)] if isinstance(content, list) else content[name]
    return content


class ShardReader:
    """The samples of one shard.

    Args:
        shard: its entry in the index.
        content: its bytes.
        label: which members are image and label.
        left_out: collects the members that belong to no sample.

    Raises:
        ShardError: it is torn or no tar, holds another number of samples than its index says, or a sample without an
            image or label.
    """

    def __init__(
        self, shard: ShardFile, content: Bytes, label: SampleRule = CLS, left_out: LeftOut | None = None
    ) -> None:
        self._content = memoryview(content)
        try:
            samples = samples_of(content, left_out)
        except (ValueError, tarfile.TarError) as error:
            raise ShardError(f"shard {shard.url} {what_is_wrong(error, 'copy it again or pack anew')}") from error
        if len(samples) != shard.samples:
            raise ShardError(
                f"shard {shard.url} holds {len(samples)} samples, its index says {shard.samples}; pack it again, "
                "or index it anew if others made it (pack.action=index)"
            )
        self._places = np.empty((len(samples), 3), np.int64)  # offset and size of the image, label
        for place, (key, parts) in enumerate(samples.items()):
            image = label.image(parts)
            if image is None or label.extension not in parts:
                raise ShardError(
                    f"sample {key} of {shard.url} has {', '.join(list(parts)[:MEMBERS_NAMED])}; it needs an image "
                    f"and a {label.extension}"
                )
            offset, size = parts[label.extension]
            number = _label(label, content[offset : offset + size], key, shard)
            self._places[place] = *image, number
        self._keys = list(samples)
        self.used = time.monotonic()

    @property
    def labels(self) -> NDArray[np.int64]:
        """Of all samples, in their order."""
        return self._places[:, 2].copy()

    def read(self, place: int) -> Sample:
        """The sample at that place of the shard, counted from 0."""
        offset, size, label = self._places[place].tolist()
        return Sample(self._keys[place], self._content[offset : offset + size], label)


def _label(rule: SampleRule, member: bytes, key: str, shard: ShardFile) -> int:
    try:
        return rule.label(member)
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise ShardError(
            f"sample {key} of {shard.url} has the label {member[:20]!r}, neither an integer nor the name of a class"
        ) from error


@dataclass
class Held:
    """The readers that are open at a time, of one index or of several that share a cache."""

    open: dict["Key", ShardReader] = field(default_factory=dict)
    opening: "dict[Key, Future[ShardReader]]" = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    most: int = OPEN_SHARDS
    sets: int = 0  # indexes that share this


Key = tuple[int, ShardFile]  # number of the index among those that share, and a shard of it


class OpenShards:
    """The readers of an index's shards, opened on demand; the least recently used are closed. Thread-safe.

    Args:
        cache: of remote shards.
        label: which members of a sample are its image and its label.
        folder: of the index, in which local shards must lie; "": anywhere.
        beside: of another index: both share the cache, its limit and that of open shards.
    """

    def __init__(
        self, cache: Cache, label: SampleRule, folder: str = "", *, beside: "OpenShards | None" = None
    ) -> None:
        self.cache = cache
        self._folder = folder
        self._label = label
        self._held = beside._held if beside else Held()
        self._number = self._held.sets
        self._held.sets += 1

    @property
    def rule(self) -> SampleRule:
        """Which members of a sample are its image and its label."""
        return self._label

    def __reduce__(self) -> tuple[Any, ...]:
        return OpenShards, (self.cache, self._label, self._folder)  # another process opens its own

    def allow(self, most: int) -> None:
        """Have at least so many shards open at a time, before the least recently used are closed."""
        self._held.most = max(self._held.most, most)

    def reader(self, shard: ShardFile) -> ShardReader:
        """The reader of a shard, opened now or by a thread that is at it; raises what its opening does.

        Raises:
            ShardError: it is missing or torn, or the cache cannot take it.
            StorageError: it cannot be fetched.
        """
        reader = self._held.open.get((self._number, shard))
        if reader is None:
            reader = self._opened_once(shard)
        reader.used = time.monotonic()
        return reader

    def _opened_once(self, shard: ShardFile) -> ShardReader:
        mine: Future[ShardReader] = Future()
        held, key = self._held, (self._number, shard)
        with held.lock:
            if key in held.open:
                return held.open[key]
            future = held.opening.setdefault(key, mine)
            self._make_room()
        if future is not mine:
            return future.result()
        try:
            reader = self._opened(shard)
        except BaseException as error:
            with held.lock:
                del held.opening[key]  # so that the next call tries again
            mine.set_exception(error)
            raise
        with held.lock:
            held.open[key] = reader
            del held.opening[key]
        mine.set_result(reader)
        return reader

    def _opened(self, shard: ShardFile) -> ShardReader:
        if is_remote(shard.url):
            return self._fetched(shard)
        with reads.under_way(shard.url):
            if self._folder:
                check_inside(shard.url, self._folder)
            return ShardReader(shard, self.cache.open(shard), self._label)

    def _fetched(self, shard: ShardFile) -> ShardReader:
        try:
            return ShardReader(shard, self.cache.open(shard), self._label)
        except ShardError:
            if not self.cache.discard(shard):
                raise
        return ShardReader(shard, self.cache.open(shard), self._label)  # the copy had gone bad on disk: fetch it again

    def _make_room(self) -> None:
        """Close readers for the one to come; a reader's memory is freed once no thread uses it."""
        opened, opening = self._held.open, self._held.opening
        held = sum(shard.bytes for _, shard in (*opened, *opening) if is_remote(shard.url))
        idle_since = time.monotonic() - IDLE_S
        for key in sorted(opened, key=lambda key: opened[key].used):
            _, shard = key
            too_many = len(opened) + len(opening) > self._held.most
            too_large = is_remote(shard.url) and held > self.cache.limit_bytes
            idle = is_remote(shard.url) and opened[key].used < idle_since
            if too_many or too_large or idle:
                del opened[key]
                held -= shard.bytes if is_remote(shard.url) else 0
