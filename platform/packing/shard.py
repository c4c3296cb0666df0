"""One shard: the unit of packing. Its bytes are a pure function of its items and settings, whatever process writes it.

In: a task with its share of the items. Out: the shard in its target, its index entry, and what could not be read.
The tar is written by webdataset's own `TarWriter`, with owner and time fixed. What is ours is around it: even shards
whose number is known beforehand (`ShardWriter` cuts wherever one is full), their checksums, and going on after a kill.
"""

import hashlib
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from platform.config.checks import ConfigError
from platform.data.store_errors import NoSuchFile, Refused, StorageError
from platform.packing.duplicates import NONE, digest_of
from platform.packing.encode import CODECS, Stored, stored
from platform.packing.items import Item
from platform.packing.restart_markers import REWRITTEN, Marked, require_program
from platform.packing.sources import Source
from platform.packing.target import Record, Target, md5_of
from platform.text import first_line

LAYOUT = 2  # of shards: raised when the same images make other bytes, so that unfinished packings begin anew
REPRODUCIBLE: dict[str, Any] = {"user": "", "group": "", "mode": 0o644, "mtime": 0}  # bytes depend on the samples alone


class Stopped(Exception):
    """The packing was ended while this shard was being written."""


@dataclass(frozen=True)
class Encoding:
    """How images are stored."""

    shorter_side: int | None
    jpeg_quality: int
    value_range: tuple[float, float] | None = None  # of grey images of more than 8 bits: (black, white)
    restart_markers: bool = False  # in JPEGs


@dataclass(frozen=True)
class ShardTask:
    """A shard to write. Picklable, and no larger than its items."""

    name: str  # of its file
    split: str
    first: int  # number of its first item in the split: the key of its sample
    items: list[Item]
    labels: list[int]  # one for each item
    source: Source
    target: Target
    encoding: Encoding
    max_corrupt: int

    def fingerprint(self) -> str:
        """A digest of all that the shard's bytes depend on, as far as it can be told without reading the images."""
        found = hashlib.sha256(repr((LAYOUT, CODECS, self.encoding, self.name, self.first)).encode())
        if self.encoding.restart_markers:
            found.update(require_program().version.encode())
        for item, label in zip(self.items, self.labels, strict=True):
            found.update(repr((item.name, item.where, label, self.source.stamp(item))).encode())
        return found.hexdigest()


@dataclass(frozen=True)
class ShardResult:
    """The result of a task."""

    task: str  # its name
    items: int
    entry: dict[str, Any]  # of the shard in the index
    unreadable: list[str]  # a line for each item that could not be read
    converted: dict[str, int]  # mode that images had before they became 8-bit grey or RGB -> number of images
    encoded: int | None  # images whose pixels were encoded anew; None: an earlier version did not count them
    jpegs: int | None  # images that are JPEGs in the shard; None: the same
    marked: Marked  # what became of them where restart markers are asked for
    digests: bytes  # of each item's bytes in its source, one after the other; NONE for an unreadable item
    fingerprint: str  # of the task
    reused: bool  # the shard was there from an earlier, interrupted packing


def write_shard(task: ShardTask, stop: threading.Event | None = None) -> ShardResult:
    """Write a shard, unless an interrupted packing has written the same one.

    Args:
        task: the shard.
        stop: set by another thread to have the writing given up.

    Raises:
        ConfigError: there are more unreadable images than `max_corrupt`, or the disk or store refuses the shard.
        StorageError: a store that images come from or shards go to does not answer.
        Stopped: `stop` was set.
    """
    try:
        fingerprint = task.fingerprint()
        found = task.target.finished(task.name)
        if found is not None and found["fingerprint"] == fingerprint and "digests" in found:
            return _result(task, found, reused=True)
        with task.target.part(task.name) as part:
            seen = _Seen([NONE] * len(task.items))
            record: Record = {
                "fingerprint": fingerprint,
                "entry": _write(task, part, stop, seen),
                "unreadable": seen.unreadable,
                "converted": dict(seen.converted),
                "encoded": seen.encoded,
                "jpegs": seen.jpegs,
                "marked": seen.marked.record(),
                "digests": [digest.hex() if digest != NONE else "" for digest in seen.digests],
            }
            task.target.keep(part, task.name, record)
            return _result(task, record, reused=False)
    except StorageError:
        raise
    except OSError as error:
        raise ConfigError(
            f"data.shards: {task.name} cannot be written ({error.strerror or error}); free space there or choose "
            "another folder"
        ) from error


def _result(task: ShardTask, record: Record, *, reused: bool) -> ShardResult:
    return ShardResult(
        task.name,
        len(task.items),
        record["entry"],
        record["unreadable"],
        record["converted"],
        record.get("encoded"),
        record.get("jpegs"),
        Marked.of(record.get("marked", {})),
        b"".join(bytes.fromhex(digest) or NONE for digest in record["digests"]),
        record["fingerprint"],
        reused,
    )


@dataclass
class _Seen:
    """What is noted of a shard's images while it is written. See `ShardResult`."""

    digests: list[bytes]
    unreadable: list[str] = field(default_factory=list)
    converted: Counter[str] = field(default_factory=Counter)
    encoded: int = 0
    jpegs: int = 0
    marked: Marked = field(default_factory=Marked)

    def note(self, place: int, content: bytes | Image.Image, image: Stored) -> None:
        """Note the image at a place of the shard.

        Args:
            place: counted from 0.
            content: of the image in its source.
            image: the same as packed.
        """
        self.digests[place] = digest_of(content)
        self.encoded += image.content is not content and image.markers != REWRITTEN
        self.jpegs += image.extension == "jpg"
        if image.converted:
            self.converted[image.converted] += 1
        if image.markers is not None:
            before = len(content) if isinstance(content, bytes) else 0
            self.marked.note(image.markers, before, len(image.content))


def _write(task: ShardTask, path: Path, stop: threading.Event | None, seen: _Seen) -> dict[str, Any]:
    """Write the tar file; its entry in the index."""
    from webdataset.writer import TarWriter  # brings torch, which takes a second

    samples = 0
    with path.open("wb") as file, TarWriter(file, **REPRODUCIBLE) as tar:
        for sample in _samples(task, stop, seen):
            tar.write(sample)
            samples += 1
    return {
        "url": task.name,
        "nsamples": samples,
        "filesize": path.stat().st_size,
        "md5sum": md5_of(path),
        "split": task.split,
    }


def _samples(task: ShardTask, stop: threading.Event | None, seen: _Seen) -> Iterator[dict[str, Any]]:
    """Every readable item as a sample for `TarWriter`: {"__key__", extension: image bytes, "cls": label}. The others
    are noted in `seen`."""
    for key, (item, label) in enumerate(zip(task.items, task.labels, strict=True), task.first):
        if stop is not None and stop.is_set():
            raise Stopped
        try:
            content = task.source.read(item)
            how = task.encoding
            image = stored(content, how.shorter_side, how.jpeg_quality, how.value_range, markers=how.restart_markers)
        except (MemoryError, ConfigError):
            raise  # is not the image's fault
        except Exception as error:  # decoders raise errors of any type
            if isinstance(error, StorageError) and not isinstance(error, NoSuchFile | Refused):
                raise  # the store does not answer; the image may be fine
            seen.unreadable.append(f"{item.name}: {_reason(error)}")
            if len(seen.unreadable) > task.max_corrupt:
                raise too_many(seen.unreadable, task.max_corrupt) from error
            continue
        seen.note(key - task.first, content, image)
        yield {"__key__": f"{key:09d}", image.extension: image.content, "cls": label}


def too_many(unreadable: list[str], limit: int) -> ConfigError:
    """The error of more unreadable images than `data.max_corrupt` allows."""
    return ConfigError(
        f"{len(unreadable)} unreadable images, more than data.max_corrupt={limit}; the last: {unreadable[-1]}. "
        "Mend the source or raise the limit"
    )


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels; shrink it"
    return first_line(error) or type(error).__name__
