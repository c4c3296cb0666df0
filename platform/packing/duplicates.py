"""Equal images, found by a digest of their bytes: within a part, in two parts, under two labels.

In: each part's items with their digests. Out: lines that count and name equal images, and the parts with one of each.
Takes 16 MB of memory for a million images, and the names of equal ones.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from PIL import Image

from platform.config.checks import ConfigError
from platform.packing.items import Item

BYTES = 16  # of a digest: the probability that any two of a million different images collide is 1e-27
NAMED = 3  # images in a message
HELD_OUT_FIRST = ("val", "test", "train")  # of equal images in two parts the held-out one is kept

NONE = bytes(BYTES)  # in the place of the digest of an unreadable image

Digests = Mapping[str, tuple[Sequence[Item], bytes]]  # part -> its items, and their digests one after the other


def digest_of(content: bytes | Image.Image) -> bytes:
    """The digest of an image: of its file's bytes, or of mode, size and pixels of a decoded one."""
    if isinstance(content, Image.Image):
        content = repr((content.mode, content.size)).encode() + content.tobytes()
    return hashlib.blake2b(content, digest_size=BYTES).digest()


@dataclass
class Duplicates:
    """Images that are equal to an earlier one: val and test come before train, and in a part names are in order.

    (Not the order of packing: with another seed the same images are named and dropped.)
    """

    count: int = 0
    across: int = 0  # those in another part than the first of their equals
    labels: int = 0  # those with another label than the first
    names: list[str] = field(default_factory=list)  # a few: "a.jpg (train) = b.jpg (val)"
    relabelled: list[str] = field(default_factory=list)  # a few with another label: "a.jpg: cat = b.jpg: dog"
    extra: dict[str, list[int]] = field(default_factory=dict)  # part -> their positions, ascending

    def lines(self) -> list[str]:
        """A line that counts and names them; empty if there are none."""
        if not self.count:
            return []
        labels = f" ({_some(self.relabelled, self.labels)})" if self.labels else ""
        return [
            f"{self.count:,} image(s) are equal to another, {self.across:,} of them to one of another part and "
            f"{self.labels:,} to one of another label{labels}: {_some(self.names, self.count)}"
        ]


def _some(names: list[str], count: int) -> str:
    return f"{', '.join(names)}{' ...' if count > len(names) else ''}"


def find(parts: Digests) -> Duplicates:
    """Find all equal images of all parts."""
    found = Duplicates(extra={part: [] for part in parts})
    order = sorted(parts, key=HELD_OUT_FIRST.index)
    ends = list(accumulate(len(parts[part][0]) for part in order))
    extra: list[tuple[_Image, _Image]] = []  # each with the one that it is equal to
    for places in _equal(b"".join(parts[part][1] for part in order)):
        first, *others = sorted(_image(place, order, ends, parts) for place in places)
        extra += [(image, first) for image in others]
    for image, first in sorted(extra):
        part = order[image.rank]
        found.extra[part].append(image.place)
        _count(found, part, image.item, order[first.rank], first.item)
    for places in found.extra.values():
        places.sort()
    return found


class _Image(NamedTuple):
    """An image with equals. They sort by which of them counts as the first."""

    rank: int  # of its part in the order of HELD_OUT_FIRST
    name: str
    label: str
    place: int  # in the part

    @property
    def item(self) -> Item:
        return Item(self.name, self.label)


def _image(place: int, order: list[str], ends: list[int], parts: Digests) -> _Image:
    rank = bisect_right(ends, place)
    place -= ends[rank - 1] if rank else 0
    item = parts[order[rank]][0][place]
    return _Image(rank, item.name, item.label, place)


def _equal(digests: bytes) -> Iterator[list[int]]:
    """The positions of each group of equal digests; NONE equals nothing."""
    halves = np.frombuffer(digests, np.uint64).reshape(-1, 2)
    order = np.lexsort(halves.T)
    halves = halves[order]
    same = (halves[1:] == halves[:-1]).all(axis=1) & halves[1:].any(axis=1)  # as the one before it
    edges = np.flatnonzero(np.diff(np.concatenate(([False], same, [False])).astype(np.int8)))
    for start, stop in edges.reshape(-1, 2):
        yield order[start : stop + 1].tolist()


def dropped(parts: Mapping[str, list[Item]], extra: Mapping[str, list[int]]) -> dict[str, list[Item]]:
    """Each part without the items at the positions in `extra`, in its order.

    Raises:
        ConfigError: a part would be empty.
    """
    kept = {}
    for part, items in parts.items():
        gone = set(extra[part])
        kept[part] = [item for number, item in enumerate(items) if number not in gone]
        if not kept[part]:
            raise ConfigError(
                f"every image of the {part} part is in another part, too, and dropping them leaves none; take that "
                "part out of the source, or give data.duplicates=keep"
            )
    return kept


def _count(found: Duplicates, part: str, item: Item, other_part: str, other: Item) -> None:
    found.count += 1
    found.across += part != other_part
    found.labels += item.label != other.label
    if len(found.names) < NAMED:
        found.names.append(f"{item.name} ({part}) = {other.name} ({other_part})")
    if item.label != other.label and len(found.relabelled) < NAMED:
        found.relabelled.append(f"{item.name}: {item.label} = {other.name}: {other.label}")
