"""Ray Data: `read_webdataset`, a map over images, and one split for each rank, all from one process.

Open-source Ray's documentation has no state of an iterator: after a failure the epoch starts anew.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ray
import ray.data
from participant import Job, Stateless, run
from pillow_transform import Transform
from ray.data import FileShuffleConfig

SHUFFLED_TOGETHER = 1000


def read(job: Job) -> Stateless:
    """Global batches: those of all ranks."""
    ray.init(
        num_cpus=job.workers,
        include_dashboard=False,
        _temp_dir=str(Path(os.environ["TMPDIR"]) / "ray"),
        runtime_env={"env_vars": {"PYTHONPATH": str(Path(__file__).parent)}},  # the workers import the transform
        log_to_driver=False,
    )
    transform = Transform(job)

    def crop(row: dict[str, Any]) -> dict[str, Any]:
        return {"image": transform(row["jpg"]).numpy(), "label": int(row["cls"])}

    def batches() -> Iterator[list[int]]:
        data = ray.data.read_webdataset(job.shards, decoder=None, shuffle=FileShuffleConfig(seed=job.seed)).map(crop)
        splits = data.streaming_split(job.world, equal=True) if job.world > 1 else [data]
        ranks: list[Iterator[Any]] = [
            iter(
                split.iter_torch_batches(
                    batch_size=job.batch_size,
                    local_shuffle_buffer_size=SHUFFLED_TOGETHER // job.world,
                    local_shuffle_seed=job.seed,
                )
            )
            for split in splits
        ]
        with ThreadPoolExecutor(len(ranks)) as pool:  # the ranks' iterators wait for each other
            while parts := [part for part in pool.map(_next, ranks) if part]:
                yield [label for part in parts for label in part["label"].tolist()]

    return Stateless(batches)


def _next(batches: Iterator[Any]) -> Any:
    """The next batch, or None: there is none."""
    return next(batches, None)


if __name__ == "__main__":
    run("ray", read)
