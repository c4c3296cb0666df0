"""The order for a billion samples, and how well it shuffles beside a full shuffle and webdataset's buffer.

`displacement`: how far samples move from their place in the shards (a full shuffle: 1/3 of the epoch). `neighbours`:
how often two samples of a batch are from one shard, over the chance of that (a full shuffle: 1).
"""

import random
import time
import tracemalloc
from collections.abc import Iterator
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from platform.bench.figures import Figures
from platform.config.sections import Config
from platform.data.order import Order

SHARDS, PER_SHARD = 100_000, 12_800  # 1.28 billion samples
IMAGENET_SHARDS, IMAGENET_PER_SHARD, IMAGENET_BATCH = 1282, 1000, 256
WORKERS, BUFFER = 8, 5000  # of webdataset: DataLoader processes, and samples that each one's buffer holds

Ids = NDArray[np.int64]


def measure(config: Config, figures: Figures) -> None:
    """Measure time, memory and shuffling; `order.*` and `shuffle.*` into `figures`."""
    for _ in range(config.bench.repeats):
        start = time.perf_counter()
        order = Order(np.full(SHARDS, PER_SHARD), 64, 4096, config.loader.block, config.seed)
        order.batch(0, 0, 8)
        figures.add("order.plan_s", time.perf_counter() - start, "to the first batch of 1.28 billion samples")
        start = time.perf_counter()
        order.batch(3 * order.steps_per_epoch + 123_456, 0, 8)
        figures.add("order.seek_ms", (time.perf_counter() - start) * 1e3, "to a batch of another epoch")
    tracemalloc.start()
    Order(np.full(SHARDS, PER_SHARD), 64, 4096, config.loader.block, config.seed).batch(0, 0, 8)
    figures.add("order.memory_mb", tracemalloc.get_traced_memory()[1] / 1e6, "that planning takes at its peak")
    tracemalloc.stop()
    shuffles = {"platform": _platform(config), "webdataset": _webdataset(config.seed), "full": _full(config.seed)}
    for name, ids in shuffles.items():
        figures.add(f"shuffle.displacement.{name}", _displacement(ids), "of an epoch; a full shuffle: 0.33")
        figures.add(f"shuffle.neighbours.{name}", _neighbours(ids), "pairs of a batch from one shard, over chance")
        figures.add(f"shuffle.classes.{name}", _classes(ids), "distinct classes a batch if shards are sorted by class")


def _platform(config: Config) -> Ids:
    sizes = np.full(IMAGENET_SHARDS, IMAGENET_PER_SHARD)
    streams = config.loader.streams
    order = Order(sizes, streams, IMAGENET_BATCH // streams * streams, config.loader.block, config.seed)
    return np.concatenate([order.batch(step) for step in range(order.steps_per_epoch)])


def _webdataset(seed: int) -> Ids:
    """webdataset's own filter behind shuffled shards, in eight DataLoader workers whose batches come in turn."""
    from webdataset.filters import _shuffle

    random_ = random.Random(seed)
    shards = random_.sample(range(IMAGENET_SHARDS), IMAGENET_SHARDS)

    def worker(number: int) -> Iterator[int]:
        samples = chain.from_iterable(
            range(shard * IMAGENET_PER_SHARD, (shard + 1) * IMAGENET_PER_SHARD) for shard in shards[number::WORKERS]
        )
        return _shuffle(iter(samples), bufsize=BUFFER, initial=BUFFER, rng=random.Random(seed + number))

    streams = [np.fromiter(worker(number), np.int64) for number in range(WORKERS)]
    batches = min(len(stream) for stream in streams) // IMAGENET_BATCH
    cut = np.stack([stream[: batches * IMAGENET_BATCH].reshape(batches, IMAGENET_BATCH) for stream in streams], 1)
    return cut.reshape(-1)


def _full(seed: int) -> Ids:
    return np.random.Generator(np.random.Philox(seed)).permutation(IMAGENET_SHARDS * IMAGENET_PER_SHARD)


def _displacement(ids: Ids) -> float:
    return float(np.abs(ids - np.arange(len(ids))).mean() / len(ids))


def _neighbours(ids: Ids) -> float:
    batches = _batches(ids) // IMAGENET_PER_SHARD
    pairs = IMAGENET_BATCH * (IMAGENET_BATCH - 1) / 2
    same = [float((n * (n - 1) / 2).sum()) for n in (np.unique(batch, return_counts=True)[1] for batch in batches)]
    return float(np.mean(same)) / pairs / ((IMAGENET_PER_SHARD - 1) / (IMAGENET_SHARDS * IMAGENET_PER_SHARD - 1))


def _classes(ids: Ids) -> float:
    classes = _batches(ids) * 1000 // (IMAGENET_SHARDS * IMAGENET_PER_SHARD)
    return float(np.mean([len(np.unique(batch)) for batch in classes]))


def _batches(ids: Ids) -> Ids:
    whole = len(ids) // IMAGENET_BATCH
    return ids[: whole * IMAGENET_BATCH].reshape(whole, IMAGENET_BATCH)
