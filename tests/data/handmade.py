"""Shards made member by member, so that a test can make wrong ones."""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from platform.data.index import read_index

MakeShards = Callable[..., Path]


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def write_any(members: list[tuple[str, bytes, float]], kind: int = tarfile.USTAR_FORMAT) -> bytes:
    """A tar of (name, content, seconds) in any of tarfile's formats."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=kind) as tar:
        for name, content, mtime in members:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), mtime  # pyright: ignore[reportAttributeAccessIssue]
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


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


def two_shards(make_shards: MakeShards) -> Path:
    return make_shards(
        {"000.jpg": b"zero", "000.cls": b"0", "001.cls": b"1", "001.PNG": b"one"},
        {"000.webp": b"two", "000.cls": b"2\n", "sub/000.jpeg": b"three", "sub/000.cls": b"-1"},
    )


def edit_entry(folder: Path, **changes: Any) -> None:
    """Change what the index says of the first shard."""
    path = folder / "index.json"
    content = json.loads(path.read_text())
    content["shardlist"][0].update(changes)
    path.write_text(json.dumps(content))


def open_all(folder: Path) -> None:
    for split in read_index(folder).splits.values():
        for sample_id in range(split.samples):
            split.read(sample_id)
