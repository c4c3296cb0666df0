"""This project: its index of the shards, and `ShardDataset` as docs/dataset.md shows it. The state is one integer."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

from participant import Job, run, state_file

from platform.config.data import DataConfig, LoaderConfig, StorageConfig
from platform.data.dataset import ShardDataset
from platform.packing.adopt import index_shards


def convert(job: Job) -> None:
    """Index the shards, which stay as they are; one of their number is seen again as the validation part."""
    folder = Path(job.converted)
    folder.mkdir(parents=True)
    for number, shard in enumerate(job.shards):
        os.link(shard, folder / f"train-{number:06d}.tar")
    os.link(job.shards[0], folder / "val-000000.tar")
    index_shards(_data(job), StorageConfig(), "cls")


def _data(job: Job) -> DataConfig:
    return DataConfig(
        name="rivals",
        shards=job.converted,
        classes=job.samples,
        image_size=job.image_size,
        mean=job.mean or DataConfig().mean,
        std=job.std or DataConfig().std,
        mirror=False,
    )


class Ours:
    """A `ShardDataset` for one epoch."""

    def __init__(self, job: Job) -> None:
        self._dataset = ShardDataset(
            _data(job),
            job.batch_size * job.world,
            loader=LoaderConfig(threads=job.workers),
            order_seed=job.seed,
            normalised=job.normalised,
            rank=job.rank,
            world=job.world,
        )
        self._rank = job.rank
        if job.resume:
            # Any rank's file will do: the state is the same on all.
            self._dataset.load_state_dict(json.loads(state_file(job.resume, 0).read_text()))

    def __iter__(self) -> Iterator[list[int]]:
        for _, labels_N, _ in self._dataset:
            yield labels_N.tolist()

    def save(self, folder: Path) -> None:
        """Save the dataset's state."""
        state_file(folder, self._rank).write_text(json.dumps(self._dataset.state_dict()))


if __name__ == "__main__":
    run("torch", Ours, convert)
