"""The index as the launcher has read and checked it, for every worker of the launch.

In: the launcher's index. Out: the same on each worker, from Ray's object store, which keeps one copy on each node; the
place of the index is asked once a start of a worker group, whether it still holds the same.
"""

import logging
from dataclasses import dataclass
from typing import Any, Self

import ray
from ray.exceptions import GetTimeoutError, RayError

from platform.config.checks import ConfigError
from platform.config.data import DataConfig, StorageConfig
from platform.data.cache import ShardError
from platform.data.index import Index
from platform.data.index_file import what_has_changed
from platform.data.sets import entries_of, read_sets, sets_of

log = logging.getLogger("platform")
TAKEN_WITHIN_S = 120.0  # by a node that has no copy yet


@dataclass(frozen=True)
class SharedIndex:
    """What workers need to have the launcher's index."""

    places: dict[str, str]  # of the sets, by their settings: a sweep may try other data
    tables: Any  # Ray's reference to what `entries_of` gives; None: workers read the index themselves

    @classmethod
    def of(cls, index: Index, data: DataConfig) -> Self:
        """Put an index into Ray's object store. One whose shards have secrets of their own in their addresses is not
        written down anywhere: each worker reads that itself.

        Args:
            index: as the launcher has read and checked it.
            data: where it is.
        """
        entries = entries_of(index)
        if any(each.has_secrets for each in entries.values()):
            return cls(data.places, None)
        for each in entries.values():
            _ = each.digests  # computed here, once for all
        return cls(data.places, ray.put(entries))

    def taken(self, data: DataConfig, storage: StorageConfig) -> Index:
        """The index, on a worker: without a request, unless it is of other data or the object store fails.

        Raises:
            ShardError: it is read, and there is none.
        """
        if self.tables is not None and data.places == self.places:
            try:
                return sets_of(ray.get(self.tables, timeout=TAKEN_WITHIN_S), storage)
            except (RayError, GetTimeoutError) as error:
                log.warning("the launcher's index does not come (%s); it is read again", type(error).__name__)
        return read_sets(data, storage, ask_all=False)


def require_unchanged(index: Index) -> None:
    """Refuse to go on with shards that were packed anew since the launcher read their index: the start of a worker
    group is at any time, and would mix what was trained on with what is there now.

    Raises:
        ConfigError: they were.
        StorageError: the store does not answer.
    """
    for entries in entries_of(index).values():
        try:
            changed = what_has_changed(entries, index.storage)
        except ShardError as error:
            changed = str(error)
        if changed:
            raise ConfigError(
                f"{changed} since this launch began; give the same command again with the shards it began with, or "
                "another name= with these"
            )
