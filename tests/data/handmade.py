"""Shards made member by member, so that a test can make wrong ones."""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

MakeShards = Callable[..., Path]


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def write_index(folder: Path, shards: dict[str, int], **changes: Any) -> Path:
    """The index of tar files (name -> samples) that lie in `folder`; `changes` replace its top-level values."""
    entries = [
        {
            "url": name,
            "nsamples": samples,
            "filesize": (folder / name).stat().st_size,
            "md5sum": hashlib.md5((folder / name).read_bytes()).hexdigest(),
            "split": "train",
        }
        for name, samples in shards.items()
    ]
    content = {"__kind__": "wids-shard-index-v1", "classes": ["a", "b", "c"], "shardlist": entries} | changes
    (folder / "index.json").write_text(json.dumps(content))
    return folder
