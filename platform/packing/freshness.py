"""Whether a source was changed after it was packed, by a few timestamps: listing a million files would take too long.

In: a config's source and shards on this machine. Out: a warning of one line.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from platform.config.data import DataConfig
from platform.data.index import INDEX_NAME
from platform.data.urls import is_remote
from platform.packing.items import SPLIT_NAMES


def changed_since(data: DataConfig) -> str | None:
    """A warning if the source is newer than the index of the shards; None if it is not, or cannot be told.

    Looked at are the modification times of the source and of its class folders, which change when files are added or
    removed. Sources of other kinds and on other machines are not looked at.
    """
    if data.source is None or ":" in data.source or is_remote(data.shards):
        return None
    try:
        packed_at = Path(data.shards, INDEX_NAME).stat().st_mtime
        newer = next((path for path in _looked_at(Path(data.source)) if path.stat().st_mtime > packed_at), None)
    except OSError:  # the source may be gone, once it is packed
        return None
    if newer is None:
        return None
    return (
        f"{newer} was changed after the shards in {data.shards} were packed, which hold what was there then; pack it "
        "into another data.shards to use it, or say data.source=null to use them as they are"
    )


def _looked_at(source: Path) -> Iterator[Path]:
    """The source, the folders in it, and the folders in its parts."""
    yield source
    if source.is_dir():
        for folder in _folders(source):
            yield folder
            if folder.name.lower() in SPLIT_NAMES:
                yield from _folders(folder)


def _folders(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:  # tells folders without a system call for each
        return sorted(Path(entry.path) for entry in entries if entry.is_dir())
