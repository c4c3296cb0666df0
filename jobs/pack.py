"""`job=pack`: `data.source` into WebDataset shards and their index in `data.shards`."""

from platform.config import Experiment
from platform.data import pack


def run(experiment: Experiment) -> int:
    """Pack, then read everything back and compare checksums."""
    data = experiment.config.data
    report = pack.pack(data, experiment.config.seed, _progress)
    print()
    for line in report.unreadable:
        print(f"warning: not packed: {line}")
    index = pack.verify(data.shards)
    for split in index.splits.values():
        print(f"{split.name:<6}{split.samples:>10,} images in {len(split.shards)} shard(s), checksums verified")
    print(f"index  {index.url}/index.json")
    return 0


def _progress(done: int, total: int) -> None:
    if done % 1000 == 0 or done == total:
        print(f"\rpacked {done:,} of {total:,}", end="", flush=True)
