"""One shard of others, read: its samples, labels, checksum, and what is missing.

In: a tar file in a folder or store. Out: a summary; labels, items and image digests go to whoever adds up all shards.
"""

import hashlib
import sys
import tarfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from platform.config.checks import ConfigError
from platform.data.cache import Bytes
from platform.data.reader import SampleRule
from platform.data.storage import Storage
from platform.data.tar import LeftOut, samples_of, what_is_wrong
from platform.data.urls import join
from platform.packing import duplicates
from platform.packing.items import Item
from platform.packing.lacking import Lacking
from platform.packing.verify import whole


@dataclass(frozen=True)
class ForeignShard:
    """A tar file that was read."""

    name: str  # below its folder
    bytes: int
    md5: str  # hexadecimal
    samples: int
    lacking: Lacking  # samples without image or label
    left_out: LeftOut  # members that belong to no sample


def read_shard(
    base: str,
    name: str,
    size: int,
    store: Storage,
    rule: SampleRule,
    classes: int,
    tell: Callable[[Counter[str], list[Item], bytes], None],
) -> ForeignShard:
    """Read a shard once, from its first to its last byte.

    Args:
        base: folder or URL of the shards.
        name: of this one, below `base`.
        size: in bytes.
        store: how `base` is reached.
        rule: where image and label of a sample are.
        classes: the most labels that are allowed.
        tell: is called with the images of each label, the items, and the digests of their images one after the other.

    Raises:
        ConfigError: it is no tar, has samples with two images, or more labels than `classes`.
        ShardError, StorageError: it cannot be read or downloaded.
    """
    left_out, labels, lacking = LeftOut(), Counter[str](), Lacking()
    items, digests = list[Item](), list[bytes]()
    with whole(join(base, name), size, store) as content:
        try:
            samples = samples_of(content, left_out)
        except (ValueError, tarfile.TarError) as error:
            raise ConfigError(f"shard {join(base, name)} {what_is_wrong(error, 'copy it again')}") from error
        for key, parts in samples.items():
            value, image = _label(content, parts, rule), rule.image(parts)
            if value is None or image is None:
                lacking.add(f"{key} of {name}", content, parts, image=image is not None, label=value is not None)
                continue
            _refuse_two_images(key, name, parts, rule)
            labels[value] += 1
            offset, length = image
            items.append(Item(f"{name}/{key}", sys.intern(value)))
            digests.append(duplicates.digest_of(content[offset : offset + length]))
        if len(labels) > classes:  # captions, perhaps, of which there is no end
            raise ConfigError(
                f"shard {name} alone has {len(labels)} different labels in {rule.spec}, e.g. {min(labels)[:40]!r}; "
                f"data.classes is {classes}: set it to their number, or pack.label to where the class is"
            )
        digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    tell(labels, items, b"".join(digests))
    return ForeignShard(name, size, digest, len(samples), lacking, left_out)


def _refuse_two_images(key: str, shard: str, parts: dict[str, tuple[int, int]], rule: SampleRule) -> None:
    """Refuse samples with two images, such as a photograph and its mask: which one is meant cannot be told."""
    there = [extension for extension in rule.images if extension in parts]
    if len(there) > 1:
        raise ConfigError(
            f"sample {key} of {shard} has the images {' and '.join(there)}; say which one with pack.image={there[0]}"
        )


def _label(content: Bytes, parts: dict[str, tuple[int, int]], rule: SampleRule) -> str | None:
    if rule.extension not in parts:
        return None
    offset, size = parts[rule.extension]
    try:
        return rule.value(content[offset : offset + size]) or None
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        return None
