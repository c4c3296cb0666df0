"""The index of many shards: what reading and checking it costs the launcher."""

import json
import time
from pathlib import Path

from platform.bench.figures import Figures
from platform.bench.growth import add_growth
from platform.config.scale import ScaleConfig
from platform.data.index import read_index
from platform.data.index_file import INDEX_NAME, KIND

SAMPLES = 1000  # of each shard


def measure(sizes: ScaleConfig, folder: Path, figures: Figures) -> None:
    """Measure at `bench.scale.shards`; `scale.index.*` into `figures`."""
    read_s: dict[int, float] = {}
    for shards in sizes.shards:
        place = folder / str(shards)
        write_index(place, shards)
        began = time.process_time()
        read_index(place, ask_all=False)
        read_s[shards] = time.process_time() - began
    add_growth(figures, "index.read_cpu_s", read_s, "CPU seconds to read an index and check it", "shards")


def write_index(folder: Path, shards: int, size: int = 100_000_000) -> None:
    """Write the index of a data set of that many shards, of `size` bytes each, none of which is there."""
    entries = [
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
