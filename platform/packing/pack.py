"""Packs images of any source into WebDataset shards with an index: same input and settings, same bytes.

In: `data.source`. Out: shards of even size with the classes mixed, and last of all their index, in `data.shards`.
Parts called train, val and test are kept; a source without parts is divided, class by class. The shards are
independent tasks: what runs them, in how many processes and in which order, makes no difference to the bytes.
"""

import contextlib
import dataclasses
import hashlib
import json
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from platform.cluster.resources import cpus_here
from platform.config.checks import ConfigError
from platform.config.sections import DataConfig, StorageConfig
from platform.data import draws
from platform.data.index import KIND
from platform.data.order import steps_of
from platform.packing import duplicates, recipe
from platform.packing.datasets import TorchvisionSource
from platform.packing.encode import by_range
from platform.packing.items import TEST_AS_VAL, Item, Parts, natural
from platform.packing.layout import cause
from platform.packing.parts import few, refuse_untrained, without_image
from platform.packing.shard import Encoding, ShardResult, ShardTask, too_many, write_shard
from platform.packing.sources import DIGITS, DIGITS_SCALE, Source, open_source, say_once, source_name
from platform.packing.target import Target, open_target
from platform.redaction import redacted

Run = Callable[[Iterable[ShardTask]], Generator[ShardResult]]  # runs tasks; results may come in any order
Progress = Callable[[int, int], object]  # is called with the images done and all images
NOTHING = "null"  # as JSON
QUEUED_PER_WORKER = 2  # tasks: no worker waits for the next one, and a million items are not sent at once


@dataclass
class PackReport:
    """The result of a packing."""

    samples: dict[str, int]  # by split
    unreadable: list[str]  # a line for each image that could not be read
    shards: int = 0
    reused: int = 0  # shards that an earlier, interrupted packing had finished
    converted: dict[str, int] = field(default_factory=dict)  # of all shards; see ShardResult
    duplicates: list[str] = field(default_factory=list)  # lines that count and name equal images


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
        return sum(len(items) for items in self.splits.values())

    def tasks(self, target: Target) -> Iterator[ShardTask]:
        """A task for each shard, made when it is asked for, as a task holds its items."""
        labels = {name: label for label, name in enumerate(self.classes)}
        low_high = self.data.value_range
        encoding = Encoding(
            self.data.shorter_side, self.data.jpeg_quality, (low_high[0], low_high[1]) if low_high else None
        )
        for split, items in self.splits.items():
            for number, (start, stop) in enumerate(even_parts(len(items), self.data.samples_per_shard)):
                share = items[start:stop]
                yield ShardTask(
                    f"{split}-{number:06d}.tar", split, start, share, [labels[item.label] for item in share],
                    self.source, target, encoding, self.data.max_corrupt,
                )  # fmt: skip


def pack(
    data: DataConfig,
    seed: int = 0,
    progress: Progress | None = None,
    run: Run | None = None,
    storage: StorageConfig | None = None,
) -> PackReport:
    """Write `data.source` as shards and index into `data.shards`. An interrupted packing is continued.

    Args:
        data: what and where to, and how images are stored.
        seed: of the order of images, and of the division of a source without parts.
        progress: is called with the images done and all images, as shards are finished.
        run: runs the tasks; by default in threads of this process.
        storage: how stores are reached.

    Raises:
        ConfigError: an unknown or empty source, other classes than `data.classes`, too many unreadable images, a
            target that is in use or not ours.
        StorageError: a store does not answer.
    """
    storage = storage or StorageConfig()
    return write(prepare(data, seed, storage), storage, progress, run or in_threads)


def prepare(data: DataConfig, seed: int, storage: StorageConfig) -> Packing:
    """List the source, divide it into splits and shuffle them.

    Raises:
        ConfigError: the source is unknown or empty, or has other classes than `data.classes`.
        StorageError: a store does not answer.
    """
    source = open_source(data.source, storage)
    parts = source.parts()
    splits = divide(parts, data.val_fraction, seed)
    classes = class_names(splits, data, source.classes() if isinstance(source, TorchvisionSource) else None)
    counts = _by_class(splits)
    refuse_untrained(counts, "add training images of them, or take them out of that part")
    too_few = f", too few to hold one out for data.val_fraction={data.val_fraction:g}" if None in parts else ""
    for line in without_image(counts):
        say_once(f"{data.source}: {line}{too_few}")
    unused = () if None in parts else ("val_fraction",)
    return Packing(data, seed, source, classes, {k: _shuffled(v, seed) for k, v in splits.items()}, unused)


def write(packing: Packing, storage: StorageConfig, progress: Progress | None, run: Run) -> PackReport:
    """Have the shards written, then their index.

    Raises:
        ConfigError: too many unreadable images, equal images where `data.duplicates` is refuse, or a target that is in
            use or not ours.
        StorageError: a store does not answer.
    """
    target = open_target(packing.data.shards, storage)
    with target.held():
        if packing.data.duplicates == "drop":
            return _write_once_each(packing, target, progress, run)
        results = _write_shards(packing, target, progress, run)
        equal = _equal_images(packing, results)
        if equal.count and packing.data.duplicates == "refuse":
            raise ConfigError(f"{equal.lines()[0]}; take them out, or give data.duplicates=keep or drop")
        report = _finish(packing, target, results, {recipe.EQUAL: equal.count} if equal.count else {})
    report.duplicates = [f"{line}; kept (data.duplicates=drop or refuse)" for line in equal.lines()]
    return report


def _write_once_each(packing: Packing, target: Target, progress: Progress | None, run: Run) -> PackReport:
    """Write shards without images that are equal to another one.

    If there are any, the shards are written twice, as they are to be of even size: first with all images, which finds
    the equal ones, then without these. What was found is kept on disk for a packing that is continued.
    """
    found = _found_before(packing, target)
    if found is None:
        results = _write_shards(packing, target, progress, run)
        equal = _equal_images(packing, results)
        if not equal.count:
            return _finish(packing, target, results, {recipe.DROPPED: 0})
        key = _fingerprint(result.fingerprint for result in results)
        found = {"of": key, "extra": equal.extra, "lines": [redacted(line) for line in equal.lines()]}
        target.remember(json.dumps(found))
    once = dataclasses.replace(packing, splits=duplicates.dropped(packing.splits, found["extra"]))
    trained = _by_class(once.splits)
    refuse_untrained(trained, "their training images are all in that part, too: take them out of it")
    before = without_image(_by_class(packing.splits))
    for line in without_image(trained):
        if line not in before:
            say_once(f"{packing.data.source}, equal images dropped: {line}")
    dropped = sum(map(len, found["extra"].values()))
    results = _write_shards(once, target, progress, run)
    if (since := _equal_images(once, results)).count:
        target.remember(NOTHING)  # else the next packing would go on with it
        raise ConfigError(
            f"{packing.data.source} was changed while it was packed: {since.lines()[0]}; the same command looks again"
        )
    report = _finish(once, target, results, {recipe.DROPPED: dropped})
    report.duplicates = [f"{line}; dropped: {once.images:,} of {packing.images:,} remain" for line in found["lines"]]
    return report


def _by_class(splits: dict[str, list[Item]]) -> dict[str, Counter[str]]:
    """Images of each class in each part."""
    return {split: Counter(item.label for item in items) for split, items in splits.items()}


def _fingerprint(of_shards: Iterable[str]) -> str:
    """A digest of all items, from the fingerprints of their shards."""
    return hashlib.sha256("".join(of_shards).encode()).hexdigest()


def _found_before(packing: Packing, target: Target) -> dict[str, Any] | None:
    """The equal images, if an interrupted packing of the same items has found them; None: it has not."""
    try:
        found = json.loads(target.remembered() or NOTHING)
        if found is None:
            return None
        return found if found["of"] == _fingerprint(task.fingerprint() for task in packing.tasks(target)) else None
    except (ValueError, TypeError, KeyError):
        return None


def _write_shards(packing: Packing, target: Target, progress: Progress | None, run: Run) -> list[ShardResult]:
    """Have all shards written; the results in the order of splits and names."""
    results: list[ShardResult] = []
    done = corrupt = 0
    with contextlib.closing(run(packing.tasks(target))) as finished:
        for result in finished:
            results.append(result)
            done, corrupt = done + result.items, corrupt + len(result.unreadable)
            if corrupt > packing.data.max_corrupt:
                raise too_many(_unreadable(results), packing.data.max_corrupt)
            if progress:
                progress(done, packing.images)
    parts = list(packing.splits)
    return sorted(results, key=lambda result: (parts.index(result.entry["split"]), result.task))


def _finish(packing: Packing, target: Target, results: list[ShardResult], equal_images: dict[str, int]) -> PackReport:
    """Write the index, which makes the shards valid."""
    entries = [result.entry for result in results if result.entry["nsamples"]]
    samples = {
        split: sum(entry["nsamples"] for entry in entries if entry["split"] == split) for split in packing.splits
    }
    unreadable = _unreadable(results)
    for split, count in samples.items():
        if not count:
            raise ConfigError(f"no image of the {split} part can be read, e.g. {unreadable[0]}; mend them")
    target.finish(
        _index(packing, entries, _unused(packing, results), len(unreadable), equal_images),
        {entry["url"] for entry in entries},
    )
    reused = sum(result.reused for result in results)
    return PackReport(samples, unreadable, len(entries), reused, _converted(results))


def _equal_images(packing: Packing, results: list[ShardResult]) -> duplicates.Duplicates:
    """The equal images among those that were read."""
    digests = {
        split: b"".join(result.digests for result in results if result.entry["split"] == split)
        for split in packing.splits
    }
    return duplicates.find({split: (items, digests[split]) for split, items in packing.splits.items()})


def _unreadable(results: list[ShardResult]) -> list[str]:
    return [line for result in results for line in result.unreadable]


def _converted(results: list[ShardResult]) -> dict[str, int]:
    """Modes that images were converted from -> number of images, the most frequent first."""
    return dict(sum((Counter(result.converted) for result in results), Counter[str]()).most_common())


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


def _shuffled(items: list[Item], seed: int) -> list[Item]:
    order = np.random.Generator(np.random.Philox(draws.key(seed))).permutation(len(items))
    return [items[i] for i in order]


def even_parts(count: int, limit: int) -> list[tuple[int, int]]:
    """(start, stop) of the fewest parts of at most `limit` items; their sizes differ by at most one."""
    parts = -(-count // limit)
    return [(count * part // parts, count * (part + 1) // parts) for part in range(parts)]


def in_threads(tasks: Iterable[ShardTask], threads: int = 0) -> Generator[ShardResult]:
    """Run tasks in threads of this process: decoding, shrinking and writing release the GIL.

    Closing the generator stops the threads.

    Args:
        tasks: the shards.
        threads: how many; 0: one for each CPU.
    """
    threads = threads or cpus_here()
    stop = threading.Event()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="pack")
    under_way: set[Future[ShardResult]] = set()
    try:
        for task in tasks:
            under_way.add(pool.submit(write_shard, task, stop))
            if len(under_way) == threads * QUEUED_PER_WORKER:
                done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        while under_way:
            done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


def _unused(packing: Packing, results: list[ShardResult]) -> list[str]:
    """The settings of which no value would have made a difference to these shards."""
    used = {
        "jpeg_quality": any(result.encoded is None or result.encoded for result in results),
        "value_range": any(map(by_range, _converted(results))) or _unreadable(results),  # perhaps for want of it
    }
    return [*packing.unused, *(name for name, matters in used.items() if not matters)]


def _index(
    packing: Packing, entries: list[dict[str, Any]], unused: list[str], corrupt: int, equal_images: dict[str, int]
) -> str:
    data = packing.data
    record = {
        "source": source_name(data.source),
        "seed": packing.seed,
        **recipe.settings(data),
        **({"shrunk_chroma": "4:2:0"} if data.shorter_side else {}),
        **({"unreadable": corrupt} if corrupt else {}),
        **equal_images,
        **({recipe.UNUSED: unused} if unused else {}),
        **({"enlarged": DIGITS_SCALE} if data.source == DIGITS else {}),
    }
    content = {
        "__kind__": KIND,
        "wids_version": 1,
        "name": data.name,
        "classes": packing.classes,
        "packing": recipe.sealed(record, data.source),
        "shardlist": entries,
    }
    return json.dumps(content, indent=1) + "\n"
