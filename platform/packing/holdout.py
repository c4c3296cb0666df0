"""Which of others' shards are held out where their names do not say it: the last ones that training can do without.

In: how many images of which class each shard has, in the order of their names. Out: the shards, or why there are none.
A few rare classes that happen to lie in the last shards are one thing, shards that are sorted by class another.
"""

from collections import Counter
from collections.abc import Mapping

from platform.packing.parts import SURELY, Counts

MIXED = 0.5  # of the spread over the shards that mixing gives; sorted shards have next to none of it

ByShard = Mapping[str, Mapping[str, int]]  # shard -> class -> images


def last_spared(shards: ByShard, count: int) -> list[str]:
    """The last `count` shards, or fewer, without which every class still has a training image.

    Where the very last ones leave out no class it is these.
    """
    holders = Counter(name for of_shard in shards.values() for name in of_shard)  # class -> shards in training
    spared: list[str] = []
    for shard in reversed(list(shards)):
        if len(spared) < count and all(holders[name] > 1 for name in shards[shard]):
            spared.append(shard)
            holders.subtract(shards[shard].keys())
    return spared[::-1]


def is_sorted(shards: ByShard, counts: Counts) -> bool:
    """Whether shards are sorted by class: they are spread too little, or a class in val alone is too large for an
    accident."""
    trained = sum(counts["train"].values())
    share = trained / (trained + sum(counts["val"].values()))
    untrained = (count for name, count in counts["val"].items() if name not in counts["train"])
    return any(count * share >= SURELY for count in untrained) or spread(shards) < MIXED


def spread(shards: ByShard) -> float:
    """Over how many shards the classes are spread: 0 is as few as can hold them, 1 as many as mixing gives."""
    images = sum((Counter(of_shard) for of_shard in shards.values()), Counter[str]())
    holders = Counter(name for of_shard in shards.values() for name in of_shard)
    largest, number = max(sum(of_shard.values()) for of_shard in shards.values()), len(shards)
    least = {name: -(-count // largest) for name, count in images.items()}
    mixed = {name: number * (1 - (1 - 1 / number) ** count) for name, count in images.items()}
    room = sum(max(mixed[name] - least[name], 0.0) for name in images)
    return sum(holders[name] - least[name] for name in images) / room if room > 1e-6 else 1.0
