"""What all shards of a packing have in common: images that are equal, unreadable, converted, marked.

In: the results of the shards. Out: these, of all together.
"""

from collections import Counter

from platform.packing import duplicates
from platform.packing.preparation import Packing
from platform.packing.restart_markers import Marked
from platform.packing.shard import ShardResult


def equal_images(packing: Packing, results: list[ShardResult]) -> duplicates.Duplicates:
    """The equal images among those that were read."""
    digests = {
        split: b"".join(result.digests for result in results if result.entry["split"] == split)
        for split in packing.splits
    }
    return duplicates.find({split: (items, digests[split]) for split, items in packing.splits.items()})


def unreadable_in(results: list[ShardResult]) -> list[str]:
    """A line for each image that could not be read."""
    return [line for result in results for line in result.unreadable]


def converted_in(results: list[ShardResult]) -> dict[str, int]:
    """Modes that images were converted from -> number of images, the most frequent first."""
    return dict(sum((Counter(result.converted) for result in results), Counter[str]()).most_common())


def marked_in(results: list[ShardResult]) -> Marked:
    """What became of the JPEGs of all shards."""
    found = Marked()
    for result in results:
        found.add(result.marked)
    return found
