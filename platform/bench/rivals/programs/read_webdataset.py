"""Stock webdataset: shards split by rank and worker, shuffled with its deterministic shuffles, batched in the workers.

Its documentation has no state: a resumed job starts at the beginning of an epoch.
"""

from collections.abc import Iterator
from typing import Any

import webdataset.compat as wds
from participant import Job, Stateless, run
from pillow_transform import Transform
from webdataset.shardlists import split_by_node


def read(job: Job) -> Stateless:
    """The rank's batches."""

    def batches() -> Iterator[list[int]]:
        dataset: Any = (
            wds.WebDataset(
                job.shards, shardshuffle=len(job.shards), detshuffle=True, seed=job.seed, nodesplitter=split_by_node
            )
            .shuffle(1000, seed=job.seed)
            .decode("pil")
            .to_tuple("jpg", "cls")
            .map_tuple(Transform(job), int)
            .batched(job.batch_size)
        )
        for _, labels in wds.WebLoader(dataset, batch_size=None, num_workers=job.workers):
            yield list(map(int, labels))

    return Stateless(batches)


if __name__ == "__main__":
    run("webdataset", read)
