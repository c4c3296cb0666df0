"""What the shards hold: `index.json` beside them.

The index is the WebDataset ecosystem's own (`wids-shard-index-v1`: url, nsamples, filesize, md5sum per shard), with
the classes, the split of each shard and how it was packed beside it. A sample is a number: its place in its split.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from platform.config.data import StorageConfig
from platform.data.cache import ShardError, ShardFile, check_inside, open_cache
from platform.data.index_file import INDEX_NAME, Entries, read_entries
from platform.data.reader import CLS, OpenShards, Sample
from platform.data.reads import reads
from platform.data.shard_table import Shards, ShardTable
from platform.data.storage import Storage
from platform.data.store_errors import NoSuchFile
from platform.data.urls import is_remote, join


class Split:
    """The shards of one part of a data set (train, val or test). Samples have ids 0 .. samples - 1; thread-safe."""

    def __init__(self, name: str, shards: Sequence[ShardFile], opened: OpenShards | None = None) -> None:
        self.name = name
        self.shards: Shards = shards if isinstance(shards, Shards) else ShardTable(shards)
        self.sizes = self.shards.samples
        self.starts = np.concatenate([[0], np.cumsum(self.sizes)]).astype(np.int64)  # first id of each, and the end
        self.opened = opened or OpenShards(open_cache(Storage(StorageConfig())), CLS)

    @property
    def samples(self) -> int:
        return int(self.starts[-1])

    @property
    def digest(self) -> str:
        """16 hexadecimal digits of a SHA-256 over the shards' names, checksums and numbers of samples."""
        return self.shards.digest

    @property
    def of_sets(self) -> "list[Split]":
        """The splits that this one consists of, in the order of their samples."""
        return [self]

    def locate(self, sample_id: int) -> tuple[int, int]:
        """The shard that holds a sample, and the sample's place in it, both counted from 0."""
        shard = int(np.searchsorted(self.starts, sample_id, side="right")) - 1
        return shard, sample_id - int(self.starts[shard])

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
    entries: Entries  # what it was made from
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
        with reads.under_way(join(url, INDEX_NAME)):
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
    entries = read_entries(url, source)
    if ask_all:
        _check_files(entries.shards, url)
    return index_of(entries, source, beside)


def index_of(entries: Entries, source: Storage, beside: Index | None = None) -> Index:
    """The index that an index file is, without a request.

    Args:
        entries: of the file.
        source: fetches the shards.
        beside: another index, with which this one shares cache and limits.
    """
    shared = next(iter(beside.splits.values())).opened if beside and beside.splits else None
    cache = shared.cache if shared else open_cache(source)
    opened = OpenShards(cache, entries.label, entries.url, beside=shared)  # one for all parts: they share the room
    splits = {name: Split(name, table, opened) for name, table in entries.splits.items()}
    return Index(entries.url, entries.classes, splits, entries.packing, source, entries)


def _check_files(shards: Iterable[ShardFile], base: str) -> None:
    """Sizes of local shards: at 100,000 of them a second's work. Remote ones are checked when they are fetched."""
    if is_remote(base):
        return
    folders = {os.path.dirname(shard.url) for shard in shards if not is_remote(shard.url)}  # noqa: PTH120
    with reads.under_way(base) as read:
        inside = os.path.realpath(base)
        for folder in folders:
            check_inside(folder, inside)
        for shard in shards:
            if not is_remote(shard.url):
                read.goes_on_to(shard.url)
                _check_file(shard, inside)


def _check_file(shard: ShardFile, inside: str) -> None:
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
