"""The index of many shards: what it costs the launcher once, and each worker at each start.

A worker gets the tables as Ray's object store hands them over: unpickled, with the arrays left where they are.
The first batch comes from a real HTTP server that answers after `DELAY_S`.
"""

import hashlib
import io
import json
import pickle
import tarfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from platform.bench.figures import Figures
from platform.bench.growth import add_growth
from platform.bench.slow_store import DELAY_S, SlowStore
from platform.bench.tars import add_file
from platform.config.data import MEMORY, DataConfig, StorageConfig
from platform.config.sampling import SamplingConfig
from platform.config.scale import ScaleConfig
from platform.data.index import read_index
from platform.data.index_file import INDEX_NAME, KIND, Entries
from platform.data.order import Order
from platform.data.sets import entries_of, sets_of
from platform.data.train_loader import TrainLoader

SAMPLES = 1000  # of each shard
IMAGES, PIXELS = 64, 32  # of a shard of the first batch, and of each image
WORKERS, SHARE = 512, 8  # of whom one is measured, and images of its share of a batch


def measure(sizes: ScaleConfig, folder: Path, figures: Figures) -> None:
    """Measure at `bench.scale.shards`; `scale.index.*` into `figures`."""
    read: dict[int, float] = {}
    node: dict[int, float] = {}
    taken: dict[int, float] = {}
    held: dict[int, float] = {}
    requests: dict[int, float] = {}
    waited: dict[int, float] = {}
    for shards in sizes.shards:
        place = folder / str(shards)
        write_index(place, shards)
        began = time.process_time()
        entries = entries_of(read_index(place, ask_all=False))
        _ = entries[""].digests
        read[shards] = time.process_time() - began
        node[shards] = sum(table.nbytes for table in entries[""].splits.values()) / 1e6
        taken[shards], held[shards] = _taken(handed_over(entries))
        requests[shards], waited[shards] = first_batch(shards)
    add_growth(figures, "index.read_cpu_s", read, "CPU seconds of the launcher to read an index, once", "shards")
    add_growth(figures, "index.node_mb", node, "MB of it in the object store of each node", "shards")
    add_growth(figures, "index.worker_cpu_ms", taken, "CPU ms of a worker to have it, at each start", "shards")
    add_growth(figures, "index.worker_mb", held, "MB of it that each worker holds for itself", "shards")
    late = f"each request is answered after {1000 * DELAY_S:g} ms"
    what = f"requests of one of {WORKERS} workers to its first batch"
    add_growth(figures, "index.first_batch_requests", requests, what, "shards")
    what = f"seconds until one of {WORKERS} workers has its first batch, the index in hand; {late}"
    add_growth(figures, "index.first_batch_s", waited, what, "shards")


def handed_over(entries: dict[str, Entries]) -> Callable[[], dict[str, Entries]]:
    """What gives the entries to a process as Ray's object store does: the arrays stay where they are."""
    apart: list[pickle.PickleBuffer] = []
    pickled = pickle.dumps(entries, protocol=5, buffer_callback=apart.append)
    return lambda: pickle.loads(pickled, buffers=apart)  # noqa: S301 - our own


def _taken(take: Callable[[], dict[str, Entries]]) -> tuple[float, float]:
    """CPU milliseconds of a worker until it has the index, and megabytes of its own for it."""
    began = time.process_time()
    sets_of(take(), StorageConfig())
    took_s = time.process_time() - began
    tracemalloc.start()
    kept = sets_of(take(), StorageConfig())
    megabytes = tracemalloc.get_traced_memory()[0] / 1e6
    tracemalloc.stop()
    assert kept.splits
    return 1e3 * took_s, megabytes


def first_batch(shards: int) -> tuple[int, float]:
    """Requests of one of `WORKERS` (as many as there are shards, if those are fewer) until it has its first batch, and
    the seconds that it takes."""
    workers = min(WORKERS, shards)
    tar = _tar()
    with SlowStore(lambda name: tar) as store:
        entries = [
            {"url": f"train-{n:06d}.tar", "nsamples": IMAGES, "filesize": len(tar), "md5sum": _md5(tar)}
            for n in range(shards)
        ]
        content = json.dumps({"__kind__": KIND, "shardlist": entries}).encode()
        store.files[INDEX_NAME] = content
        storage = StorageConfig(cache=MEMORY)
        take = handed_over(entries_of(read_index(store.url, storage)))
        store.requests.clear()
        began = time.perf_counter()
        split = sets_of(take(), storage).split("train")
        order = Order.of(split, workers, workers * SHARE, 4 * IMAGES, seed=0)
        data = DataConfig(source=None, shards=store.url, classes=10, image_size=PIXELS)
        with TrainLoader(split, order, data, SamplingConfig(), world=workers, prefetch=1) as loader:
            next(loader.steps(0, 1))
            return sum(store.requests.values()), time.perf_counter() - began


def write_index(folder: Path, shards: int, size: int = 100_000_000) -> None:
    """Write the index of a data set of that many shards, of `size` bytes each, none of which is there."""
    entries: list[dict[str, Any]] = [
        {
            "url": f"train-{number:06d}.tar",
            "nsamples": SAMPLES,
            "filesize": size,
            "md5sum": f"{number:032x}",
            "split": "train",
        }
        for number in range(shards)
    ]
    folder.mkdir(parents=True)
    content = {"__kind__": KIND, "wids_version": 1, "shardlist": entries}
    (folder / INDEX_NAME).write_text(json.dumps(content))


def _tar() -> bytes:
    """A shard of small images."""
    generator, buffer = np.random.default_rng(0), io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for number in range(IMAGES):
            image = io.BytesIO()
            pixels = generator.integers(0, 255, (PIXELS, PIXELS, 3), np.uint8)
            Image.fromarray(pixels).save(image, "JPEG")
            for name, content in ((f"{number:03d}.jpg", image.getvalue()), (f"{number:03d}.cls", b"1")):
                add_file(tar, name, content)
    return buffer.getvalue()


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
