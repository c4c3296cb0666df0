"""torchvision's ImageFolder in a DataLoader, with a DistributedSampler: what PyTorch's ImageNet example does.

Neither has a state; the documentation of DistributedSampler has `set_epoch` only.
"""

from collections.abc import Iterator

from participant import Job, Stateless, run
from pillow_transform import Transform
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler
from torchvision.datasets import ImageFolder


def read(job: Job) -> Stateless:
    """The rank's batches."""

    def batches() -> Iterator[list[int]]:
        dataset = ImageFolder(job.folder, Transform(job))
        sampler = DistributedSampler(dataset, job.world, job.rank, shuffle=True, seed=job.seed)
        loader = DataLoader(dataset, job.batch_size, sampler=sampler, num_workers=job.workers)
        for _, labels in loader:
            yield labels.tolist()

    return Stateless(batches)


if __name__ == "__main__":
    run("torchvision", read)
