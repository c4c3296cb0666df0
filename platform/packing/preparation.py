"""What will be packed: the items of a source, listed, divided into splits and shuffled, with no image read yet.

In: `data.source` and a seed. Out: `Packing`, which makes a task for each shard.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from platform.config.checks import ConfigError
from platform.config.data import DataConfig, StorageConfig
from platform.data import draws
from platform.data.order import steps_of
from platform.packing.datasets import TorchvisionSource
from platform.packing.items import TEST_AS_VAL, Item, Parts, natural
from platform.packing.layout import cause
from platform.packing.parts import few, refuse_untrained, without_image
from platform.packing.restart_markers import require_program
from platform.packing.shard import Encoding, ShardTask
from platform.packing.sources import Source, open_source, say_once
from platform.packing.target import Target


@dataclass(frozen=True)
class Packing:
    """What will be packed: every item in its place, with no image read yet."""

    data: DataConfig
    seed: int
    source: Source
    classes: list[str]
    splits: dict[str, list[Item]]  # shuffled
    unused: tuple[str, ...] = ()  # settings that make no difference for this source

    @property
    def images(self) -> int:
        """Of all splits together."""
        return sum(len(items) for items in self.splits.values())

    def tasks(self, target: Target) -> Iterator[ShardTask]:
        """A task for each shard, made when it is asked for, as a task holds its items."""
        labels = {name: label for label, name in enumerate(self.classes)}
        low_high = self.data.value_range
        encoding = Encoding(
            self.data.shorter_side,
            self.data.jpeg_quality,
            (low_high[0], low_high[1]) if low_high else None,
            self.data.restart_markers,
        )
        for split, items in self.splits.items():
            for number, (start, stop) in enumerate(even_parts(len(items), self.data.samples_per_shard)):
                share = items[start:stop]
                yield ShardTask(
                    f"{split}-{number:06d}.tar", split, start, share, [labels[item.label] for item in share],
                    self.source, target, encoding, self.data.max_corrupt,
                )  # fmt: skip


def prepare(data: DataConfig, seed: int, storage: StorageConfig) -> Packing:
    """List the source, divide it into splits and shuffle them.

    Raises:
        ConfigError: the source is unknown or empty, or has other classes than `data.classes`; or there is no `jpegtran`
            where `data.restart_markers` needs it.
        StorageError: a store does not answer.
    """
    if data.restart_markers:
        require_program()
    source = open_source(data.source, storage)
    parts = source.parts()
    splits = divide(parts, data.val_fraction, seed)
    classes = class_names(splits, data, source.classes() if isinstance(source, TorchvisionSource) else None)
    counts = by_class(splits)
    refuse_untrained(counts, "add training images of them, or take them out of that part")
    too_few = f", too few to hold one out for data.val_fraction={data.val_fraction:g}" if None in parts else ""
    for line in without_image(counts):
        say_once(f"{data.source}: {line}{too_few}")
    unused = () if None in parts else ("val_fraction",)
    return Packing(data, seed, source, classes, {k: shuffled(v, seed) for k, v in splits.items()}, unused)


def counts(data: DataConfig, seed: int, storage: StorageConfig) -> dict[str, int]:
    """How many images of each split packing would list.

    Raises:
        ConfigError: the source is unknown or empty, or has other classes than `data.classes`.
        StorageError: a store does not answer.
    """
    return {split: len(items) for split, items in prepare(data, seed, storage).splits.items()}


def divide(parts: Parts, val_fraction: float, seed: int) -> dict[str, list[Item]]:
    """The splits of a source: its own train, val and, beside val, test; or every class divided in the same proportion.

    Where there is a test part and no val part, the test images are used for validation, with a warning.

    Raises:
        ConfigError: there would be no training or no validation images.
    """
    if None not in parts:
        if {"train", "test"} <= parts.keys() and "val" not in parts:
            say_once(TEST_AS_VAL)
            parts = {"val" if name == "test" else name: items for name, items in parts.items()}
        missing = [name for name in ("train", "val") if name not in parts]
        if missing:
            raise ConfigError(f"the source has no {missing[0]} part, only {', '.join(map(str, parts))}; add the folder")
        return {name: parts[name] for name in ("train", "val", "test") if name in parts}
    by_class: dict[str, list[Item]] = defaultdict(list)
    for item in parts[None]:
        by_class[item.label].append(item)
    train, val = [], []
    for label in sorted(by_class, key=natural):
        items = by_class[label]
        order = np.random.Generator(np.random.Philox(draws.key(seed, 1))).permutation(len(items))
        held_out = round(steps_of(val_fraction, len(items)))
        val += [items[i] for i in order[:held_out]]
        train += [items[i] for i in order[held_out:]]
    for part, remedy in ((train, "lower"), (val, "raise")):
        if not part:
            raise ConfigError(
                f"data.val_fraction is {val_fraction}, which leaves one of the parts without images; {remedy} it"
            )
    return {"train": train, "val": val}


def class_names(splits: dict[str, list[Item]], data: DataConfig, own: list[str] | None = None) -> list[str]:
    """The classes in the order of their labels: the source's `own` where it numbers them, else sorted by name.

    Raises:
        ConfigError: there are not `data.classes` of them.
    """
    names = own or sorted({item.label for items in splits.values() for item in items}, key=natural)
    if len(names) != data.classes:
        found = f"{data.source} has {len(names)} classes ({few(names)}), data.classes is {data.classes}"
        raise ConfigError(f"{found}; {cause(names, (item for items in splits.values() for item in items), data)}")
    return names


def by_class(splits: dict[str, list[Item]]) -> dict[str, Counter[str]]:
    """Images of each class in each part."""
    return {split: Counter(item.label for item in items) for split, items in splits.items()}


def shuffled(items: list[Item], seed: int) -> list[Item]:
    """In an order that follows from the seed alone."""
    order = np.random.Generator(np.random.Philox(draws.key(seed))).permutation(len(items))
    return [items[i] for i in order]


def even_parts(count: int, limit: int) -> list[tuple[int, int]]:
    """(start, stop) of the fewest parts of at most `limit` items; their sizes differ by at most one."""
    parts = -(-count // limit)
    return [(count * part // parts, count * (part + 1) // parts) for part in range(parts)]
