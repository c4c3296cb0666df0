"""Megatron-Energon: tar files with an index of `energon prepare`, its savable loader, whose state each rank saves.

Its page on reproducible scaling: the same global batches come at another world size where ranks x workers stay, and
`energon checkpoint redist` deals the states out anew. So a rank's batch is one micro-batch from each of its workers.
"""
# pyright: reportMissingImports=false

import json
import os
from collections.abc import Iterator
from pathlib import Path

import torch
from megatron.energon import (
    DefaultTaskEncoder,
    ImageClassificationSample,
    SampleDecoder,
    WorkerConfig,
    get_savable_loader,
    get_train_dataset,
    stateless,
)
from megatron.energon.tools.checkpoint import command_redist
from megatron.energon.tools.prepare import command as prepare
from participant import Job, run, state_file
from pillow_transform import Transform

MAPPED = {"image": "jpg", "label": "cls"}


def convert(job: Job) -> None:
    """Index the shards, which stay as they are."""
    folder = Path(job.converted)
    folder.mkdir(parents=True)
    for shard in job.shards:
        os.link(shard, folder / Path(shard).name)
    options = ["--non-interactive", "--split-parts", "train:train-.*", "--num-workers", "1"]
    options += ["--sample-type", "ImageClassificationSample", "--field-map", json.dumps(MAPPED)]
    prepare.main([str(folder), *options], standalone_mode=False)


class Crops(DefaultTaskEncoder):
    """Transforms each image."""

    decoder = SampleDecoder(image_decode="pil")

    def __init__(self, job: Job) -> None:
        super().__init__()
        self._transform = Transform(job)

    @stateless(restore_seeds=True)
    def encode_sample(self, sample: ImageClassificationSample) -> ImageClassificationSample:
        """The sample with its image cropped, and as a tensor."""
        sample.image = self._transform(sample.image)
        return sample


class Energon:
    """The dataset and its loader."""

    def __init__(self, job: Job) -> None:
        workers = WorkerConfig(rank=job.rank, world_size=job.world, num_workers=job.workers, seed_offset=job.seed)
        dataset = get_train_dataset(
            job.converted,
            worker_config=workers,
            batch_size=job.batch_size // job.workers,
            shuffle_buffer_size=100,
            max_samples_per_sequence=100,
            task_encoder=Crops(job),
            repeat=False,
        )
        self._job = job
        self._loader = get_savable_loader(dataset)
        if job.resume:
            states = redistributed(job) if job.world != job.resume_world else Path(job.resume)
            self._loader.restore_state_rank(torch.load(state_file(states, job.rank), weights_only=False))

    def __iter__(self) -> Iterator[list[int]]:
        batch: list[int] = []
        for number, part in enumerate(self._loader, 1):
            batch += [int(label) for label in part.label]
            if number % self._job.workers == 0:
                yield batch
                batch = []
        if batch:
            yield batch

    def save(self, folder: Path) -> None:
        """Save the loader's state."""
        torch.save(self._loader.save_state_rank(), state_file(folder, self._job.rank))


def redistributed(job: Job) -> Path:
    """The states for this number of ranks; each rank has a folder of its own for them."""
    folder = Path(job.scratch) / f"redistributed-{job.rank}"
    folder.mkdir(parents=True)
    files = [str(state_file(job.resume, rank)) for rank in range(job.resume_world)]
    command_redist.main([*files, str(folder), "--new-world-size", str(job.world)], standalone_mode=False)
    return folder


if __name__ == "__main__":
    run("megatron-energon", Energon, convert)
