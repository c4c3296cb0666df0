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
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from platform.cluster.resources import cpus_here
from platform.config.checks import ConfigError
from platform.config.data import DataConfig, StorageConfig
from platform.packing import duplicates, recipe
from platform.packing.index_text import index_text, unused_in
from platform.packing.parts import refuse_untrained, without_image
from platform.packing.preparation import Packing, by_class, prepare
from platform.packing.restart_markers import Marked
from platform.packing.results import converted_in, equal_images, marked_in, unreadable_in
from platform.packing.shard import ShardResult, ShardTask, too_many, write_shard
from platform.packing.sources import say_once
from platform.packing.target import Target, open_target
from platform.packing.threads import Threads
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
    marked: Marked = field(default_factory=Marked)  # what restart markers were written, if they were asked for


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
        equal = equal_images(packing, results)
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
        equal = equal_images(packing, results)
        if not equal.count:
            return _finish(packing, target, results, {recipe.DROPPED: 0})
        key = _fingerprint(result.fingerprint for result in results)
        found = {"of": key, "extra": equal.extra, "lines": [redacted(line) for line in equal.lines()]}
        target.remember(json.dumps(found))
    once = dataclasses.replace(packing, splits=duplicates.dropped(packing.splits, found["extra"]))
    trained = by_class(once.splits)
    refuse_untrained(trained, "their training images are all in that part, too: take them out of it")
    before = without_image(by_class(packing.splits))
    for line in without_image(trained):
        if line not in before:
            say_once(f"{packing.data.source}, equal images dropped: {line}")
    dropped = sum(map(len, found["extra"].values()))
    results = _write_shards(once, target, progress, run)
    if (since := equal_images(once, results)).count:
        target.remember(NOTHING)  # else the next packing would go on with it
        raise ConfigError(
            f"{packing.data.source} was changed while it was packed: {since.lines()[0]}; the same command looks again"
        )
    report = _finish(once, target, results, {recipe.DROPPED: dropped})
    report.duplicates = [f"{line}; dropped: {once.images:,} of {packing.images:,} remain" for line in found["lines"]]
    return report


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
                raise too_many(unreadable_in(results), packing.data.max_corrupt)
            if progress:
                progress(done, packing.images)
    parts = list(packing.splits)
    return sorted(results, key=lambda result: (parts.index(result.entry["split"]), result.task))


def _finish(packing: Packing, target: Target, results: list[ShardResult], equal: dict[str, int]) -> PackReport:
    """Write the index, which makes the shards valid."""
    entries = [result.entry for result in results if result.entry["nsamples"]]
    samples = {
        split: sum(entry["nsamples"] for entry in entries if entry["split"] == split) for split in packing.splits
    }
    unreadable = unreadable_in(results)
    for split, count in samples.items():
        if not count:
            raise ConfigError(f"no image of the {split} part can be read, e.g. {unreadable[0]}; mend them")
    found = equal | ({recipe.MARKED: marked_in(results).record()} if packing.data.restart_markers else {})
    target.finish(
        index_text(packing, entries, unused_in(packing, results), len(unreadable), found),
        {entry["url"] for entry in entries},
    )
    reused = sum(result.reused for result in results)
    return PackReport(samples, unreadable, len(entries), reused, converted_in(results), marked=marked_in(results))


def in_threads(tasks: Iterable[ShardTask], threads: int = 0) -> Generator[ShardResult]:
    """Run tasks in threads of this process: decoding, shrinking and writing release the GIL.

    Closing the generator stops the threads.

    Args:
        tasks: the shards.
        threads: how many; 0: one for each CPU.
    """
    threads = threads or cpus_here()
    stop = threading.Event()
    workers: Threads[ShardTask, ShardResult] = Threads(partial(write_shard, stop=stop), threads, "pack")
    try:
        with contextlib.closing(workers.results(tasks, ahead=QUEUED_PER_WORKER * threads)) as results:
            for _, result in results:
                yield result
    finally:
        stop.set()
        workers.join()
