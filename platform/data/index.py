"""What the shards hold: `index.json` beside them, and random access into one shard.

The index is the WebDataset ecosystem's own (`wids-shard-index-v1`: url, nsamples, filesize, md5sum per shard), with
the classes, the split of each shard and how it was packed beside it. A sample is a number: its place in the index.
"""

import json
import mmap
import tarfile
import threading
from bisect import bisect_right
from collections import OrderedDict
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

INDEX_NAME = "index.json"
IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "webp")  # all that is ever decoded; nothing here can execute code


class ShardError(RuntimeError):
    """A shard or index that is missing, torn or not what it says. The message names it."""


@dataclass(frozen=True)
class Shard:
    """One tar file."""

    path: Path
    samples: int
    bytes: int
    md5: str


class Split:
    """The shards of one part of a data set (train or val), addressed by sample id 0 .. samples - 1."""

    def __init__(self, name: str, shards: list[Shard]) -> None:
        self.name = name
        self.shards = shards
        self.starts = [0, *accumulate(shard.samples for shard in shards)]  # first sample id of each shard, and the end

    @property
    def samples(self) -> int:
        return self.starts[-1]

    def locate(self, sample_id: int) -> tuple[int, int]:
        """Sample id -> (shard, place in it)."""
        shard = bisect_right(self.starts, sample_id) - 1
        return shard, sample_id - self.starts[shard]


@dataclass(frozen=True)
class Index:
    """A packed data set."""

    folder: Path
    classes: list[str]
    splits: dict[str, Split]
    packing: dict[str, Any]

    def split(self, name: str) -> Split:
        if name not in self.splits:
            raise ShardError(f"{self.folder} has no {name!r} shards, only {', '.join(self.splits)}; pack it again")
        return self.splits[name]


def read_index(folder: str | Path) -> Index:
    """Read `folder/index.json` and check that every shard is there in its full size.

    Raises:
        ShardError: no index, an index of another kind, a shard missing or of another size.
    """
    folder = Path(folder)
    path = folder / INDEX_NAME
    if not path.exists():
        raise ShardError(f"no {INDEX_NAME} in {folder}; pack the data there with job=pack data.source=PATH")
    try:
        content = json.loads(path.read_text())
        kind = content["__kind__"]
        shards = [
            (entry.get("split", "train"), Shard(_inside(folder, entry["url"]), *_sizes(entry)))
            for entry in content["shardlist"]
        ]
        classes = [str(name) for name in content.get("classes", [])]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ShardError(f"{path} is not a shard index ({error!r}); pack the data again") from error
    if kind != "wids-shard-index-v1":
        raise ShardError(f"{path} is of kind {kind!r}; only wids-shard-index-v1 is read")
    for _, shard in shards:
        _check_file(shard, path)
    names = dict.fromkeys(split for split, _ in shards)
    splits = {name: Split(name, [shard for split, shard in shards if split == name]) for name in names}
    return Index(folder, classes, splits, content.get("packing", {}))


def _inside(folder: Path, url: str) -> Path:
    path = folder / url
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ShardError(f"the index in {folder} names {url!r}, outside its folder; shards must lie beside their index")
    return path


def _sizes(entry: dict[str, Any]) -> tuple[int, int, str]:
    return int(entry["nsamples"]), int(entry["filesize"]), str(entry.get("md5sum", ""))


def _check_file(shard: Shard, index: Path) -> None:
    if not shard.path.exists():
        raise ShardError(f"shard {shard.path} is missing though {index} names it; copy it back or pack again")
    size = shard.path.stat().st_size
    if size != shard.bytes:
        raise ShardError(f"shard {shard.path} has {size} bytes, its index says {shard.bytes}; copy it again")


@dataclass(frozen=True)
class Sample:
    """The bytes of one sample, as stored."""

    key: str
    image: bytes
    label: int


class ShardReader:
    """Random access to the samples of one shard through a memory map. Reading is safe from several threads."""

    def __init__(self, shard: Shard) -> None:
        self.shard = shard
        try:
            with open(shard.path, "rb") as file:
                self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self._members = _scan(shard)
        except (OSError, ValueError, tarfile.TarError) as error:
            raise ShardError(f"shard {shard.path} cannot be read ({error}); copy it again or pack anew") from error
        if len(self._members) != shard.samples:
            raise ShardError(
                f"shard {shard.path} holds {len(self._members)} samples, its index says {shard.samples}; pack it again"
            )

    def read(self, place: int) -> Sample:
        """The sample at `place`.

        Raises:
            ShardError: it has no image, or its label is no integer.
        """
        key, parts = self._members[place]
        image = next((parts[extension] for extension in IMAGE_EXTENSIONS if extension in parts), None)
        if image is None or "cls" not in parts:
            raise ShardError(f"sample {key} of {self.shard.path} has {', '.join(parts)}; it needs an image and a cls")
        label = self._slice(parts["cls"])
        try:
            return Sample(key, self._slice(image), int(label))
        except ValueError as error:
            raise ShardError(f"sample {key} of {self.shard.path} has the label {label[:20]!r}, no integer") from error

    def _slice(self, part: tuple[int, int]) -> bytes:
        offset, size = part
        return self._bytes[offset : offset + size]


def _scan(shard: Shard) -> list[tuple[str, dict[str, tuple[int, int]]]]:
    """Members of a shard grouped into samples: [(key, {extension: (offset, size)})], in the order of the file."""
    samples: dict[str, dict[str, tuple[int, int]]] = {}
    with tarfile.open(shard.path, "r:") as tar:
        for member in tar:
            if not member.isfile():
                continue
            folder, _, name = member.name.rpartition("/")
            stem, _, extension = name.partition(".")
            samples.setdefault(f"{folder}/{stem}" if folder else stem, {})[extension.lower()] = (
                member.offset_data,
                member.size,
            )
    return list(samples.items())


class SplitReader:
    """Samples of a split by id, from any thread. Keeps the most recently used shards mapped."""

    def __init__(self, split: Split, open_shards: int = 64) -> None:
        self.split = split
        self._open_shards = open_shards
        self._readers: OrderedDict[int, ShardReader] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, sample_id: int) -> Sample:
        shard, place = self.split.locate(sample_id)
        return self._reader(shard).read(place)

    def _reader(self, shard: int) -> ShardReader:
        with self._lock:
            if shard in self._readers:
                self._readers.move_to_end(shard)
            else:
                self._readers[shard] = ShardReader(self.split.shards[shard])
                if len(self._readers) > self._open_shards:
                    self._readers.popitem(last=False)  # unmapped when the last thread that reads it lets go
            return self._readers[shard]
