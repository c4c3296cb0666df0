"""DALI on the CPU: its webdataset reader, random crops decoded by its own decoder, and its PyTorch iterator.

Its page on checkpointing: `enable_checkpointing=True`, the iterator's `checkpoints()`, and pipelines made with them.
"""
# pyright: reportMissingImports=false, reportCallIssue=false

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nvidia.dali import fn, pipeline_def, types
from nvidia.dali.plugin.base_iterator import LastBatchPolicy
from nvidia.dali.plugin.pytorch import DALIGenericIterator
from participant import Job, run, saved_by_this_rank, state_file


@pipeline_def(enable_checkpointing=True)
def crops(job: Job) -> Any:
    """Cropped, normalised images, and their labels as digits."""
    jpegs, labels = fn.readers.webdataset(
        paths=job.shards,
        ext=["jpg", "cls"],
        random_shuffle=True,
        shard_id=job.rank,
        num_shards=job.world,
        seed=job.seed,
        name="reader",
    )
    images = fn.decoders.image_random_crop(jpegs, random_area=[0.08, 1.0], random_aspect_ratio=[3 / 4, 4 / 3])
    images = fn.resize(images, size=[job.image_size, job.image_size])
    images = fn.crop_mirror_normalize(
        images,
        dtype=types.FLOAT,
        output_layout="CHW",
        mean=[255 * value for value in job.mean],
        std=[255 * value for value in job.std],
    )
    return images, labels


class Dali:
    """The pipeline and its iterator."""

    def __init__(self, job: Job) -> None:
        self._rank = job.rank
        state = {"checkpoint": saved_by_this_rank(job).read_bytes()} if job.resume else {}
        pipeline = crops(
            job, batch_size=job.batch_size, num_threads=job.workers, device_id=None, seed=job.seed, **state
        )
        self._iterator = DALIGenericIterator(
            [pipeline], ["images", "labels"], reader_name="reader", last_batch_policy=LastBatchPolicy.PARTIAL
        )

    def __iter__(self) -> Iterator[list[int]]:
        for (batch,) in self._iterator:
            yield [int(bytes(digits.tolist())) for digits in batch["labels"]]

    def save(self, folder: Path) -> None:
        """Save the pipeline's state."""
        (state,) = self._iterator.checkpoints()
        state_file(folder, self._rank).write_bytes(state)


if __name__ == "__main__":
    run("nvidia-dali-cuda130", Dali)
