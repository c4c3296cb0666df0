"""Many shards in little memory: arrays instead of an object each, which processes of a node can share.

In: shards. Out: the same as a sequence; each is made when somebody asks for it.
"""

import functools
import hashlib
from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, chain
from os.path import commonprefix
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from platform.data.cache import ShardFile
from platform.data.urls import is_remote

KEPT = 4096  # shards that were asked for; more than are open at a time


class Texts:
    """Texts as one array of bytes, and where each ends."""

    def __init__(self, texts: Sequence[str]) -> None:
        encoded = [text.encode() for text in texts]
        self._bytes: NDArray[np.uint8] = np.frombuffer(b"".join(encoded), np.uint8)
        self._ends: NDArray[np.int64] = np.cumsum([len(each) for each in encoded], dtype=np.int64)

    def __getitem__(self, number: int) -> str:
        start = self._ends[number - 1] if number else 0
        return self._bytes[start : self._ends[number]].tobytes().decode()

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self._bytes.nbytes + self._ends.nbytes


class Shards(Sequence[ShardFile]):
    """Shards in the order of their samples, each made when somebody asks for it."""

    samples: NDArray[np.int64]  # of each shard
    any_remote: bool

    @functools.cached_property
    def digest(self) -> str:
        """16 hexadecimal digits of a SHA-256 over the shards' names, checksums and numbers of samples."""
        lines = "".join(f"{shard.url.rpartition('/')[2]} {shard.md5} {shard.samples}\n" for shard in self)
        return hashlib.sha256(lines.encode()).hexdigest()[:16]

    @abstractmethod
    def at(self, place: int) -> ShardFile:
        """The shard at a place, 0 .. len - 1."""

    def __len__(self) -> int:
        return len(self.samples)

    @overload
    def __getitem__(self, number: int) -> ShardFile: ...
    @overload
    def __getitem__(self, number: slice) -> list[ShardFile]: ...
    def __getitem__(self, number: int | slice) -> ShardFile | list[ShardFile]:
        if isinstance(number, slice):
            return [self.at(each) for each in range(*number.indices(len(self)))]
        place = number + len(self) if number < 0 else number
        if not 0 <= place < len(self):
            raise IndexError(f"shard {number} of {len(self)}")
        return self.at(place)

    def __iter__(self) -> Iterator[ShardFile]:
        return map(self.at, range(len(self)))


class ShardTable(Shards):
    """The shards of a split, about 90 bytes each. Arrays that come from Ray's object store stay there, one copy a node.

    Args:
        shards: in the order of their samples.
    """

    def __init__(self, shards: Sequence[ShardFile]) -> None:
        urls = [shard.url for shard in shards]
        self._base = commonprefix([min(urls), max(urls)]) if urls else ""  # noqa: RUF071 - letters are meant
        self._names = Texts([url.removeprefix(self._base) for url in urls])
        self._md5s = Texts([shard.md5 for shard in shards])
        self._bytes = np.array([shard.bytes for shard in shards], np.int64)
        self.samples = np.array([shard.samples for shard in shards], np.int64)
        self.any_remote = any(map(is_remote, urls))
        self._kept: dict[int, ShardFile] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_kept": {}}

    @property
    def nbytes(self) -> int:
        """Bytes in memory of all arrays."""
        return self._names.nbytes + self._md5s.nbytes + self._bytes.nbytes + self.samples.nbytes

    def at(self, place: int) -> ShardFile:
        """The same object again and again for those that are read now: each sample asks for its shard."""
        return self._kept.get(place) or self._keep(place)

    def __iter__(self) -> Iterator[ShardFile]:
        return map(self._made, range(len(self)))  # none of them is kept

    def _keep(self, place: int) -> ShardFile:
        if len(self._kept) >= KEPT:
            self._kept = {}
        made = self._kept[place] = self._made(place)
        return made

    def _made(self, place: int) -> ShardFile:
        samples, size = int(self.samples[place]), int(self._bytes[place])
        return ShardFile(self._base + self._names[place], samples, size, self._md5s[place])


class JoinedShards(Shards):
    """Those of several sets, one set after the other; nothing is copied but their numbers of samples."""

    def __init__(self, sets: Sequence[Shards]) -> None:
        self._sets = list(sets)
        self._firsts = [0, *accumulate(map(len, sets))]
        self.samples = np.concatenate([each.samples for each in sets])
        self.any_remote = any(each.any_remote for each in sets)

    def at(self, place: int) -> ShardFile:
        """The shard at a place, counted over all sets."""
        number = bisect_right(self._firsts, place) - 1
        return self._sets[number].at(place - self._firsts[number])

    def __iter__(self) -> Iterator[ShardFile]:
        return chain.from_iterable(self._sets)
