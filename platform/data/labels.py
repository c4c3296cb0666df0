"""The labels of a split's samples. An index does not have them: they are read from the shards once, and kept.

In: a split. Out: an array. It lies beside the cache of shards, under a digest of what it was read from.
"""

import hashlib
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from platform.config.data import MEMORY
from platform.data.index import Split
from platform.data.line import Ids
from platform.files import replacing

FOLDER = "labels"


def labels_of(split: Split, progress: Callable[[int, int], None] = lambda done, total: None) -> Ids:
    """The label of each sample: int64 `[samples]`.

    Shards at a URL are fetched for it, each once; with `storage.cache=memory` nothing is kept.

    Args:
        split: whose samples.
        progress: is called with the shards read and all of them; never, where the labels are known.

    Raises:
        ShardError: a shard is missing or torn.
        StorageError: a shard cannot be fetched.
    """
    known = [_known(_place(each), each) for each in split.of_sets]
    unread = [each for each, labels in zip(split.of_sets, known, strict=True) if labels is None]
    count, read = sum(len(each.shards) for each in unread), itertools.count(1)
    return np.concatenate(
        [
            _read(each, lambda: progress(next(read), count)) if labels is None else labels
            for each, labels in zip(split.of_sets, known, strict=True)
        ]
    )


def _read(split: Split, progress: Callable[[], None]) -> Ids:
    """Read those of one set from its shards, and keep them."""
    kept, read = _place(split), []
    with ThreadPoolExecutor(split.opened.cache.storage.config.threads, thread_name_prefix="labels") as pool:
        for found in pool.map(lambda shard: split.opened.reader(shard).labels, split.shards):
            read.append(found)
            progress()
    labels = np.concatenate(read)
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with replacing(kept) as unfinished, unfinished.open("wb") as file:
            np.save(file, labels.astype(np.int32))
    return labels


def are_kept(split: Split) -> bool:
    """Whether they were read before."""
    return all(_known(_place(each), each) is not None for each in split.of_sets)


def are_at_hand(split: Split) -> bool:
    """Whether nothing has to be fetched for them."""
    return not split.shards.any_remote or are_kept(split)


def _place(split: Split) -> Path | None:
    """The file for a split's labels, named by its shards and the rule for labels; None: nothing is kept."""
    cache = split.opened.cache.storage.config.cache
    if cache == MEMORY:
        return None
    shards = "".join(f"{shard.url} {shard.bytes}\n" for shard in split.shards)
    key = hashlib.sha256(f"{split.digest}\n{split.opened.rule}\n{shards}".encode()).hexdigest()[:24]
    return Path(cache) / FOLDER / f"{key}.npy"


def _known(kept: Path | None, split: Split) -> Ids | None:
    try:
        labels = np.load(kept, allow_pickle=False) if kept else None
    except (OSError, ValueError, EOFError):  # not there, or damaged
        return None
    whole = labels is not None and labels.dtype == np.int32 and labels.shape == (split.samples,)
    return labels.astype(np.int64) if labels is not None and whole else None
