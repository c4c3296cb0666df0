"""Whether shards are what their index says: sizes, checksums, samples, labels. Finds all bad shards, not only one.

In: `data.shards`, a folder or URL. Out: counts, and a line for each bad shard. Nothing is cached.
"""

import contextlib
import hashlib
import mmap
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from platform.cluster.resources import cpus_here
from platform.config.data import DataConfig, StorageConfig
from platform.data.cache import Bytes, ShardError, ShardFile, map_file
from platform.data.index_file import read_entries
from platform.data.links import plain
from platform.data.reader import SampleRule, ShardReader
from platform.data.reads import reads
from platform.data.storage import Storage
from platform.data.store_errors import StorageError
from platform.data.tar import LeftOut
from platform.data.toolmade import is_tool_made
from platform.data.urls import is_remote, join
from platform.packing.threads import Threads
from platform.redaction import sealed

UNLISTED = "tar files that the index does not have"


@dataclass
class Verified:
    """The result of a verification."""

    samples: dict[str, int] = field(default_factory=Counter)  # by split, as the index says
    shards: dict[str, int] = field(default_factory=Counter)
    bad: list[str] = field(default_factory=list)  # a line for each bad shard
    left_out: list[str] = field(default_factory=list)  # a line for each kind of file or member that is no sample


def verify(
    data: DataConfig, storage: StorageConfig | None = None, progress: Callable[[int, int], object] | None = None
) -> Verified:
    """Read every shard of the index at `data.shards`, several at a time.

    Args:
        data: `classes` bounds the labels where the index names no classes.
        storage: how stores are reached; `threads` of their shards are read at a time.
        progress: is called with the shards done and all shards.

    Raises:
        ShardError: there is no index, or it is damaged.
    """
    source = Storage(storage or StorageConfig())
    said = read_entries(data.shards, source)
    entries = [(split, shard) for split, table in said.splits.items() for shard in table]
    rule = said.label
    if not entries:
        raise ShardError(f"the index in {data.shards} names no shards; pack the data again")
    found = Verified()
    limit = len(said.classes) or data.classes
    left_out = {shard: LeftOut() for _, shard in entries}
    problems = each(
        [shard for _, shard in entries],
        lambda shard: _problem(shard, source, rule, limit, left_out[shard]),
        source,
        data.shards,
        progress,
    )
    for split, shard in entries:
        found.samples[split] += shard.samples
        found.shards[split] += 1
    found.bad = sorted(line for line in problems if line)
    of_all = LeftOut()
    for shard, of_shard in left_out.items():
        of_all.add_all(of_shard, shard.url.removeprefix(join(data.shards, "")))
    for name in _not_in_index(data.shards, source, [shard.url for _, shard in entries]):
        of_all.add(UNLISTED, name)
    found.left_out = of_all.lines()
    return found


def _not_in_index(base: str, source: Storage, urls: list[str]) -> list[str]:
    """Tar files beside an index that are not in it; empty where a store cannot list files."""
    try:
        there = source.list(base, (".tar", ".TAR"))
    except StorageError:
        return []
    known = set(map(plain, urls))
    names = (name for name, _ in there if not is_tool_made(name))
    return [name for name in names if plain(sealed(join(base, name), share=False)) not in known]


T = TypeVar("T")
R = TypeVar("R")


def each(
    shards: list[T],
    work: Callable[[T], R],
    source: Storage,
    base: str,
    progress: Callable[[int, int], object] | None,
) -> list[R]:
    """Call `work` with every shard, several at a time; the results in the order of `shards`.

    The first error ends it, and gives up what is waiting for the store.
    """
    threads = source.config.threads if is_remote(base) else cpus_here()
    results: dict[int, R] = {}
    try:
        with contextlib.closing(Threads(work, threads, "shards").results(shards, ahead=len(shards))) as found:
            for number, result in found:
                results[number] = result
                if progress:
                    progress(len(results), len(shards))
    except BaseException:
        source.give_up()
        raise
    return [results[number] for number in range(len(shards))]


def _problem(shard: ShardFile, source: Storage, rule: SampleRule, classes: int, left_out: LeftOut) -> str | None:
    """What is wrong with a shard, in one line that names it; None: nothing."""
    try:
        with whole(shard.url, shard.bytes, source) as content:
            digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
            if len(content) != shard.bytes:
                return f"{shard.url} has {len(content)} bytes, its index says {shard.bytes}"
            if shard.md5 and digest != shard.md5:
                return f"{shard.url} has the checksum {digest}, its index says {shard.md5}"
            reader = ShardReader(shard, content, rule, left_out)
            labels = {reader.read(place).label for place in range(shard.samples)}
    except (ShardError, StorageError) as error:
        return str(error)
    outside = sorted(label for label in labels if not 0 <= label < classes)
    return f"{shard.url} has the label {outside[0]}, labels are 0 to {classes - 1}" if outside else None


@contextlib.contextmanager
def whole(url: str, size: int, source: Storage) -> Iterator[Bytes]:
    """The bytes of a shard, memory-mapped; a remote one is downloaded to a temporary file first.

    Raises:
        ShardError, StorageError: it cannot be read or downloaded.
    """
    if not is_remote(url):
        with reads.under_way(url):
            content = map_file(ShardFile(url, 0, size, ""))
        yield content
        return
    with tempfile.TemporaryFile() as file:
        source.fetch(url, size, "", file)
        file.flush()
        yield mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
