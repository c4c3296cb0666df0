"""Equal images, by the digest of their bytes: within a part, in two parts, under two labels.

In: each part's items with their digests. Out: lines that count and name them, and the parts without them.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from PIL import Image

from platform.config import ConfigError
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
    """Images equal to one that comes before them: val and test before train, and in a part the first by name.

    By name, so that another seed, which changes the order, names and drops the same ones.
    """

    count: int = 0
    across: int = 0  # of them, in another part than the first
    labels: int = 0  # of them, under another label than the first
    names: list[str] = field(default_factory=list)  # a few: "a.jpg (train) = b.jpg (val)"
    relabelled: list[str] = field(default_factory=list)  # a few of those of another label: "a.jpg: cat = b.jpg: dog"
    extra: dict[str, list[int]] = field(default_factory=dict)  # their numbers among each part's items

    def lines(self) -> list[str]:
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
    """All of them."""
    found = Duplicates()
    first: dict[bytes, tuple[str, Item]] = {}
    for part in sorted(parts, key=HELD_OUT_FIRST.index):
        listed = list(parts[part])
        extra: set[int] = set()
        for number in sorted(range(len(listed)), key=lambda number: listed[number][0][:2]):  # name, label
            item, digest = listed[number]
            if not digest:
                continue
            other_part, other = first.setdefault(bytes.fromhex(digest), (part, item))
            if other is not item:
                extra.add(number)
                _count(found, part, item, other_part, other)
        found.extra[part] = sorted(extra)
    return found


def dropped(parts: Mapping[str, list[Item]], extra: Mapping[str, list[int]]) -> dict[str, list[Item]]:
    """Each part without the items of these numbers, in its order.

    Raises:
        ConfigError: nothing of a part is left.
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
