"""Equal images, by the digest of their bytes: within a part, in two parts, under two labels.

In: each part's items with their digests. Out: lines that count and name them, and the parts with one of each.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from PIL import Image

from platform.packing.items import Item

BYTES = 16  # of a digest: of a million images two are equal by chance with the probability 1e-27
NAMED = 3
HELD_OUT_FIRST = ("val", "test", "train")  # of equal images in two parts the one that measures stays

Digests = Mapping[str, Iterable[tuple[Item, str]]]  # part -> its items, each with its digest ("": none)


def digest_of(content: bytes | Image.Image) -> str:
    """Of an image's file, or of its mode, size and pixels where it has none."""
    if isinstance(content, Image.Image):
        content = repr((content.mode, content.size)).encode() + content.tobytes()
    return hashlib.blake2b(content, digest_size=BYTES).hexdigest()


@dataclass
class Duplicates:
    """Images equal to one that comes before them, val and test coming before train."""

    count: int = 0
    across: int = 0  # of them, in another part than the first
    labels: int = 0  # of them, under another label than the first
    names: list[str] = field(default_factory=list)  # a few: "a.jpg = b.jpg"
    kept: dict[str, list[Item]] = field(default_factory=dict)  # each part without them

    def lines(self) -> list[str]:
        if not self.count:
            return []
        return [
            f"{self.count:,} image(s) are equal to another, {self.across:,} of them to one of another part and "
            f"{self.labels:,} to one of another label: {', '.join(self.names)}"
            f"{' ...' if self.count > len(self.names) else ''}"
        ]


def find(parts: Digests) -> Duplicates:
    """All of them, in the order of the parts' items."""
    found = Duplicates(kept={part: [] for part in parts})
    first: dict[bytes, tuple[str, Item]] = {}
    for part in sorted(parts, key=HELD_OUT_FIRST.index):
        for item, digest in parts[part]:
            key = bytes.fromhex(digest)
            if not key or key not in first:
                found.kept[part].append(item)
                first.setdefault(key, (part, item)) if key else None
                continue
            other_part, other = first[key]
            found.count += 1
            found.across += part != other_part
            found.labels += item.label != other.label
            if len(found.names) < NAMED:
                found.names.append(f"{item.name} ({part}) = {other.name} ({other_part})")
    return found
