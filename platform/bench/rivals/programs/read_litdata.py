"""LitData: chunks made by `optimize`, read by StreamingDataset and StreamingDataLoader, whose state each rank saves.

Its README: for one curve at another world size the global batch stays the same, and so do `seed` and `shuffle`.
"""
# pyright: reportMissingImports=false

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["LITDATA_DISABLE_VERSION_CHECK"] = "1"  # it would ask a package index for a newer one

import torch
from litdata import StreamingDataLoader, StreamingDataset, optimize
from participant import Job, run, samples_of, state_file
from pillow_transform import Transform


def rows_of(shard: str) -> Iterator[dict[str, Any]]:
    """Encoded images and labels of one tar file."""
    for image, label in samples_of(shard):
        yield {"image": image, "label": label}


def convert(job: Job) -> None:
    """Chunks of as many samples as a shard has."""
    optimize(
        rows_of, job.shards, job.converted, chunk_size=job.samples // len(job.shards), num_workers=1, verbose=False
    )


class LitData:
    """The dataset and its loader."""

    def __init__(self, job: Job) -> None:
        transform = Transform(job)
        dataset = StreamingDataset(
            job.converted,
            shuffle=True,
            drop_last=True,
            seed=job.seed,
            transform=lambda sample: (transform(sample["image"]), sample["label"]),
        )
        self._rank = job.rank
        self._loader = StreamingDataLoader(dataset, batch_size=job.batch_size, num_workers=job.workers)
        if job.resume:
            rank = min(job.rank, job.resume_world - 1)  # all hold the global position
            self._loader.load_state_dict(torch.load(state_file(job.resume, rank)))

    def __iter__(self) -> Iterator[list[int]]:
        for _, labels in self._loader:
            yield labels.tolist()

    def save(self, folder: Path) -> None:
        """Save the loader's state."""
        torch.save(self._loader.state_dict(), state_file(folder, self._rank))


if __name__ == "__main__":
    run("litdata", LitData, convert)
