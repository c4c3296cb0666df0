"""Samples of open shards: the members of a tar found once, then images by slicing. Nothing is ever unpickled.

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

from platform.data.cache import Bytes, Cache, ShardError, ShardFile, check_inside
from platform.data.storage import is_remote
from platform.data.tar import LeftOut, samples_of, what_is_wrong

IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "webp")  # all that is ever decoded; nothing here can execute code
OPEN_SHARDS = 512  # at once, unless what is being read needs more
IDLE_S = 60.0  # after which a remote shard is no longer held against its cache's evicting it
LARGEST_LABEL = 2**31
MEMBERS_NAMED = 5  # of a sample that lacks one


@dataclass(slots=True)
class Sample:
    """One sample as stored; its image is a view of the shard's bytes, which stay as long as it does."""

    key: str
    image: memoryview
    label: int


@dataclass(frozen=True)
class SampleRule:
    """Which members of a sample are its image and its label; of a label in JSON, which field."""

    extension: str = "cls"  # of the label
    json_field: str = ""  # `a.b` is b in a
    numbers: dict[str, int] = field(default_factory=dict)  # of labels that are names
    images: tuple[str, ...] = IMAGE_EXTENSIONS  # the first of them that a sample has

    @classmethod
    def of(cls, spec: str, classes: tuple[str, ...] = (), image: str = "") -> "SampleRule":
        """`cls`, `txt`, `json:FIELD`, ...; labels that are no integers are looked up in `classes`.

        `image` is the extension of the member that holds the image; "": whichever of `IMAGE_EXTENSIONS` there is.
        """
        extension, _, json_field = spec.partition(":")
        numbers = {name: number for number, name in enumerate(classes)}
        return cls(extension.lower(), json_field, numbers, (image.lower(),) if image else IMAGE_EXTENSIONS)

    @property
    def spec(self) -> str:
        """As `of` takes it."""
        return f"{self.extension}:{self.json_field}" if self.json_field else self.extension

    def image(self, parts: dict[str, tuple[int, int]]) -> tuple[int, int] | None:
        """Offset and size of the image; None where a sample has none."""
        return next((parts[extension] for extension in self.images if extension in parts), None)

    def value(self, member: bytes) -> str:
        """The label as text.

        Raises:
            ValueError, KeyError: there is none.
        """
        if not self.json_field:
            return member.decode().strip()
        value = _field(json.loads(member), self.json_field)
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


CLS = SampleRule()


def _field(content: Any, path: str) -> Any:
    """`a.b` of `{"a": {"b": 1}}`, `a.0` of `{"a": [1]}`; a field that is itself called `a.b` comes first.

    Raises:
        KeyError, IndexError, TypeError, ValueError: there is none.
    """
    if isinstance(content, dict) and path in content:
        return content[path]
    for name in path.split("."):
        content = content[int(name)] if isinstance(content, list) else content[name]
    return content


class ShardReader:
    """The samples of one shard. `left_out` is told of what belongs to none.

    Raises:
        ShardError: it is no tar, torn, holds another number of samples than its index says, or one without an image
            or label.
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

    def read(self, place: int) -> Sample:
        offset, size, label = self._places[place].tolist()
        return Sample(self._keys[place], self._content[offset : offset + size], label)


def _label(rule: SampleRule, member: bytes, key: str, shard: ShardFile) -> int:
    try:
        return rule.label(member)
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise ShardError(
            f"sample {key} of {shard.url} has the label {member[:20]!r}, neither an integer nor the name of a class"
        ) from error


class OpenShards:
    """The readers of an index's shards, each opened by the first thread that asks; the longest unused are closed."""

    def __init__(self, cache: Cache, label: SampleRule, folder: str = "") -> None:
        self.cache = cache
        self._folder = folder  # of the index, in which local shards must lie; "": anywhere
        self.most = OPEN_SHARDS
        self._label = label
        self._open: dict[ShardFile, ShardReader] = {}
        self._opening: dict[ShardFile, Future[ShardReader]] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return OpenShards, (self.cache, self._label, self._folder)  # another process opens its own

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
        if self._folder and not is_remote(shard.url):
            check_inside(shard.url, self._folder)
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
