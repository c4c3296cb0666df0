"""MosaicML Streaming: MDS shards, read by StreamingDataset and StreamingDataLoader, whose state rank 0 saves.

Its documentation: the canonical nodes fix the order for any number of ranks, and the state is loaded on all of them.
"""
# pyright: reportMissingImports=false

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from participant import Job, run, samples_of, state_file
from pillow_transform import Transform
from streaming import MDSWriter, StreamingDataLoader, StreamingDataset
from streaming.base.util import clean_stale_shared_memory


def convert(job: Job) -> None:
    """One MDS shard for each tar file, or about that: MDS limits bytes."""
    size = sum(Path(shard).stat().st_size for shard in job.shards) // len(job.shards)
    with MDSWriter(out=job.converted, columns={"image": "bytes", "label": "int"}, size_limit=size) as out:
        for shard in job.shards:
            for image, label in samples_of(shard):
                out.write({"image": image, "label": label})


class Images(StreamingDataset):
    """Decodes and transforms, as its users do in `__getitem__`."""

    def __init__(self, job: Job, **rest: Any) -> None:
        super().__init__(local=job.converted, batch_size=job.batch_size, shuffle=True, shuffle_seed=job.seed, **rest)
        self._transform = Transform(job)

    def __getitem__(self, at: Any) -> Any:
        sample = super().__getitem__(at)
        return self._transform(sample["image"]), sample["label"]


class Streaming:
    """The dataset and its loader."""

    def __init__(self, job: Job) -> None:
        clean_stale_shared_memory()  # of a run that was killed, as its documentation says
        self._rank = job.rank
        self._loader = StreamingDataLoader(Images(job), batch_size=job.batch_size, num_workers=job.workers)
        if job.resume:
            self._loader.load_state_dict(json.loads(state_file(job.resume, 0).read_text()))

    def __iter__(self) -> Iterator[list[int]]:
        for _, labels in self._loader:
            yield labels.tolist()

    def save(self, folder: Path) -> None:
        """Save the loader's state, which is the same on all ranks."""
        if self._rank == 0:
            state_file(folder, 0).write_text(json.dumps(self._loader.state_dict()))


if __name__ == "__main__":
    run("mosaicml-streaming", Streaming, convert)
