"""What the shards hold: `index.json` beside them.

The index is the WebDataset ecosystem's own (`wids-shard-index-v1`: url, nsamples, filesize, md5sum per shard), with
the classes, the split of each shard and how it was packed beside it. A sample is a number: its place in its split.
"""

import hashlib
import json
import os
from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from platform.config.data import StorageConfig
from platform.data.cache import ShardError, ShardFile, check_inside, open_cache
from platform.data.reader import CLS, OpenShards, Sample, SampleRule
from platform.data.storage import NoSuchFile, Storage, StorageError, is_remote, join
from platform.redaction import sealed

INDEX_NAME = "index.json"
KIND = "wids-shard-index-v1"
LARGEST = 2**50  # bytes or samples of a shard; beyond it somebody means harm


class Split:
    """The shards of one part of a data set (train, val or test). Samples have ids 0 .. samples - 1; thread-safe."""

    def __init__(self, name: str, shards: list[ShardFile], opened: OpenShards | None = None) -> None:
        self.name = name
        self.shards = shards
        self.sizes = np.array([shard.samples for shard in shards], np.int64)
        self.starts = [0, *accumulate(self.sizes.tolist())]  # first id of each shard, and the end
        self.opened = opened or OpenShards(open_cache(Storage(StorageConfig())), CLS)

    @property
    def samples(self) -> int:
        return self.starts[-1]

    @property
    def digest(self) -> str:
        """16 hexadecimal digits of a SHA-256 over the shards' names, checksums and numbers of samples."""
        shards = "".join(f"{shard.url.rpartition('/')[2]} {shard.md5} {shard.samples}\n" for shard in self.shards)
        return hashlib.sha256(shards.encode()).hexdigest()[:16]

    @property
    def of_sets(self) -> "list[Split]":
        """The splits that this one consists of, in the order of their samples."""
        return [self]

    def locate(self, sample_id: int) -> tuple[int, int]:
        """The shard that holds a sample, and the sample's place in it, both counted from 0."""
        shard = bisect_right(self.starts, sample_id) - 1
        return shard, sample_id - self.starts[shard]

    def read(self, sample_id: int) -> Sample:
        """Read one sample, still encoded; its shard is fetched first where it is not there.

        Raises:
            ShardError: the shard is missing, torn, or not what the index says.
            StorageError: it cannot be fetched.
        """
        shard, place = self.locate(sample_id)
        return self.opened.reader(self.shards[shard]).read(place)

    def others(self, sample_id: int) -> int:
        """How many samples of its set there are besides one."""
        return self.samples - 1

    def after(self, sample_id: int, distance: int) -> int:
        """The sample so many places after another; behind the last of its set comes the first."""
        return (sample_id + distance) % self.samples

    def prepare(self, shard: int) -> None:
        """Fetch and open a shard that will be read soon; raises what `read` does."""
        self.opened.reader(self.shards[shard])


@dataclass(frozen=True)
class Index:
    """A packed data set."""

    url: str  # of its folder
    classes: list[str]  # empty: the shards' labels are numbers and nobody named them
    splits: dict[str, Split]
    packing: dict[str, Any]
    storage: Storage
    also: dict[str, "Index"] = field(default_factory=dict)  # name -> further set to train on (`sets`)

    def split(self, name: str) -> Split:
        """The part of that name.

        Raises:
            ShardError: there is none.
        """
        if name not in self.splits:
            raise ShardError(f"{self.url} has no {name!r} shards, only {', '.join(self.splits)}; {self._remedy()}")
        return self.splits[name]

    def _remedy(self) -> str:
        if "samples_per_shard" in self.packing:
            return "pack it again"
        return (  # of stock webdataset's `widsindex`, which knows no parts
            f"move its {INDEX_NAME} away and have one made that divides the shards: job=pack pack.action=index "
            f"data.source=null data.shards={self.url}"
        )


def has_index(url: str, storage: StorageConfig) -> bool:
    """Whether there is an index at `url`, a folder or its address.

    Raises:
        StorageError: the store does not answer.
    """
    if not is_remote(url):
        return (Path(url) / INDEX_NAME).exists()
    try:
        Storage(storage).read(join(url, INDEX_NAME))
    except NoSuchFile:
        return False
    return True


def read_index(
    url: str | Path, storage: StorageConfig | None = None, *, ask_all: bool = True, beside: Index | None = None
) -> Index:
    """Read `index.json` at `url` and check it; local shards must be there in their full size.

    Args:
        url: a folder, or its address.
        storage: how remote shards are fetched and cached.
        ask_all: check the size of every local shard now, as the launcher does. Its workers do without: a shard is
            checked when it is opened.
        beside: another index, with which this one shares storage, cache and their limits.

    Raises:
        ShardError: no index, an index of another kind, a local shard missing or of another size.
    """
    url, source = str(url), beside.storage if beside else Storage(storage or StorageConfig())
    said = read_entries(url, source)
    if ask_all:
        _check_files([shard for _, shard in said.entries], url)
    shared = next(iter(beside.splits.values())).opened if beside and beside.splits else None
    cache = shared.cache if shared else open_cache(source)
    opened = OpenShards(cache, said.label, url, beside=shared)  # one for all parts: they share the cache's room
    shards: dict[str, list[ShardFile]] = {}
    for split, shard in said.entries:
        shards.setdefault(split, []).append(shard)
    splits = {name: Split(name, of_split, opened) for name, of_split in shards.items()}
    return Index(url, said.classes, splits, said.packing, source)


@dataclass(frozen=True)
class Entries:
    """The content of an index file; the shards themselves are not looked at."""

    entries: list[tuple[str, ShardFile]]  # split and shard
    classes: list[str]
    packing: dict[str, Any]
    label: SampleRule


def read_entries(url: str, source: Storage) -> Entries:
    """Read `index.json` at `url` without looking at the shards.

    Raises:
        ShardError: no index, or one of another kind.
    """
    path = join(url, INDEX_NAME)
    try:
        content = json.loads(source.read(path))
        _check_form(content)
        entries = [(str(entry.get("split", "train")), _shard(url, entry)) for entry in content["shardlist"]]
        classes = [str(name) for name in content.get("classes", [])]
        packing = dict(content.get("packing") or {})
        if len({shard.url for _, shard in entries}) < len(entries):
            raise ValueError("it names a shard twice")
    except NoSuchFile as error:
        raise ShardError(
            f"no {INDEX_NAME} in {url}; pack the data there with job=pack data.source=PATH, "
            "or index shards that are there already with job=pack pack.action=index"
        ) from error
    except StorageError as error:
        raise ShardError(str(error)) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise ShardError(
            f"{path} is not a shard index ({_what(error)}); pack the data again, or, of shards that others made, move "
            f"it away and have one made: job=pack pack.action=index data.source=null data.shards={url}"
        ) from error
    rule = SampleRule.of(str(packing.get("label", "cls")), tuple(classes), str(packing.get("image", "")))
    return Entries(entries, classes, packing, rule)


def _check_form(content: Any) -> None:
    """Check the JSON's types and keys.

    Raises:
        ValueError: it is not an index.
    """
    if not isinstance(content, dict):
        raise ValueError(f"it is a JSON {type(content).__name__}, not an object")
    _require_keys("it", content, ("__kind__",))
    if content["__kind__"] != KIND:
        raise ValueError(f"its __kind__ is {str(content['__kind__'])[:40]!r}; only {KIND} is read")
    _require_keys("it", content, ("shardlist",))
    for key, kind in (("shardlist", list), ("classes", list), ("packing", dict)):
        if not isinstance(content.get(key) or kind(), kind):
            raise ValueError(f"its {key} is {str(content[key])[:40]!r}, not a {kind.__name__}")
    for number, entry in enumerate(content["shardlist"]):
        if not isinstance(entry, dict):
            raise ValueError(f"its shardlist has {str(entry)[:40]!r}, which is not an object")
        _require_keys(f"entry {number} of its shardlist", entry, ("url", "nsamples", "filesize"))


def _require_keys(what: str, content: dict[str, Any], keys: tuple[str, ...]) -> None:
    missing = [key for key in keys if key not in content]
    if missing:
        raise ValueError(f"{what} has no {', '.join(missing)}")


def _what(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
        return f"not JSON, or cut short: {error}"
    if isinstance(error, RecursionError):
        return "its JSON is nested too deeply"
    return str(error) or type(error).__name__


def _shard(base: str, entry: dict[str, Any]) -> ShardFile:
    name, samples, size = entry["url"], entry["nsamples"], entry["filesize"]
    whole = all(type(number) is int and 0 <= number < LARGEST for number in (samples, size))
    if not isinstance(name, str) or not whole:
        raise ValueError(f"{name} has {samples} samples and {size} bytes")
    return ShardFile(sealed(_address(base, name), share=False), samples, size, str(entry.get("md5sum", "")))


def _address(base: str, name: str) -> str:
    """Where a shard lies. Below its index; an index of this machine, which somebody here wrote, may name URLs too.

    Raises:
        ShardError: an index names something else, e.g. a file of this machine outside its folder.
    """
    if is_remote(name) and not is_remote(base) and not name.startswith(("file:", "local:")):
        return name
    if is_remote(name) or name.startswith("/") or ".." in name.split("/") or "\\" in name:
        raise ShardError(f"the index in {base} names {name!r}, outside its folder; shards must lie beside their index")
    return join(base, name)


def _check_files(shards: list[ShardFile], base: str) -> None:
    """Sizes of local shards: at 100,000 of them a second's work. Remote ones are checked when they are fetched."""
    if is_remote(base):
        return
    inside = os.path.realpath(base)
    folders = {os.path.dirname(shard.url) for shard in shards if not is_remote(shard.url)}  # noqa: PTH120
    for folder in folders:
        check_inside(folder, inside)
    for shard in shards:
        if is_remote(shard.url):
            continue
        try:
            size = os.stat(shard.url).st_size  # noqa: PTH116  # a Path each would double the time
        except OSError:
            raise ShardError(
                f"shard {shard.url} is missing though its index names it; copy it back or pack again"
            ) from None
        if size != shard.bytes:
            raise ShardError(f"shard {shard.url} has {size} bytes, its index says {shard.bytes}; copy it again")
        if os.path.islink(shard.url):  # noqa: PTH114
            check_inside(shard.url, inside)
