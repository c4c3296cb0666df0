"""The training images that a worker takes in, with what a teacher says of them.

In: a member's config and its training split. Out: their order, batches from any step on, a log of which came when.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import torch
import torch.distributed as dist

from platform.config.choices import DECODERS, chosen
from platform.config.data import AUTO, NOT_BALANCED
from platform.config.loss import PRIOR
from platform.config.sections import Config
from platform.data import samplelog
from platform.data.batch import Batch
from platform.data.hybrid_loader import Division
from platform.data.image_sizes import ImageSizes
from platform.data.index import Split
from platform.data.labels import labels_of
from platform.data.line import Ids
from platform.data.order import Order
from platform.data.samplelog import SampleLog
from platform.data.sampling import draws_used
from platform.data.train_loader import TrainLoader
from platform.data.training_order import draw_seed, training_order
from platform.evaluation.targets import Targets
from platform.training.device_feed import DeviceFeed
from platform.training.peers import from_rank_0
from platform.training.progress import Progress
from platform.training.worker import Worker


class BatchSource(Protocol):
    """What a training asks of its loader (use `with`). `TrainLoader` is one."""

    @property
    def threads(self) -> int: ...

    @property
    def waited_s(self) -> float: ...

    @property
    def decode_s(self) -> float: ...

    def steps(self, start: int, stop: int) -> Iterator[Batch]: ...

    def counts(self) -> dict[str, float]: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


@dataclass(frozen=True)
class Feed:
    """A worker's share of the training images."""

    cfg: Config
    split: Split
    order: Order  # of all workers' samples
    worker: Worker
    labels: Ids | None = None  # of all training images, where order or loss depend on them
    targets: Targets | None = None  # a teacher's, of the same images

    @classmethod
    def of(cls, cfg: Config, split: Split, worker: Worker, progress: Progress, teacher: Path | None) -> Self:
        """Every rank calls this; where labels of all images are needed rank 0 reads them for all.

        Raises:
            ShardError: labels cannot be read.
        """
        needed, moved = cfg.data.balance != NOT_BALANCED or cfg.loss.smoothing_over == PRIOR, progress.moved
        labels = from_rank_0(worker, lambda: labels_of(split, lambda *_: moved()), moved) if needed else None
        order = training_order(cfg, split, labels)
        return cls(cfg, split, order, worker, labels, Targets(teacher) if teacher else None)

    def open(self, sizes: ImageSizes | None = None, division: Division | None = None) -> TrainLoader:
        """A loader of images as large as in testing, or of `sizes`; decoded as `division` has it, where two decode."""
        return training_loader(self.cfg, self.split, self.order, self.worker, sizes, division)

    def batches(self, loader: BatchSource, first: int, last: int) -> Iterator[Batch]:
        """The worker's share of the global batches of steps `first` to `last`, this one not included; on a GPU what a
        step reads of them. A batch is the next one's place there: it is not kept."""
        yield from DeviceFeed(self.worker.device).batches(map(self._taught, loader.steps(first, last)))

    def _taught(self, batch: Batch) -> Batch:
        """With what the teacher says of its images."""
        batch.teacher_logs_NK = self.targets.rows(batch.ids_N) if self.targets else None
        return batch

    def sample_log(self, folder: Path) -> SampleLog:
        """All workers log under the number of this start that rank 0 finds."""
        worker = self.worker
        start = torch.tensor(samplelog.next_start(folder), device=worker.device)
        if worker.world > 1:
            dist.broadcast(start, src=0)
        wanted = self.cfg.loader.log_samples
        return SampleLog(folder, int(start), worker.rank, worker.world, wanted=wanted)  # sync point


def training_loader(
    cfg: Config,
    split: Split,
    order: Order,
    worker: Worker,
    sizes: ImageSizes | None = None,
    division: Division | None = None,
) -> TrainLoader:
    """The worker's batches of training images, decoded where `loader.decoder` says.

    Args:
        cfg: the member's.
        split: the images.
        order: which of them come when.
        worker: whose share.
        sizes: of the images at each step; None: `data.image_size`.
        division: of the images between the decoders of `loader.decoder=auto`, where it is known.

    Raises:
        ConfigError: by a GPU that the worker does not have.
    """
    cfg.loader.require_gpu(available=worker.device.type == "cuda")
    made = chosen(DECODERS[cfg.loader.decoder])
    share = {"rank": worker.rank, "world": worker.world, "threads": worker.threads}
    share |= {"prefetch": cfg.loader.prefetch_batches, "draw_count": draws_used(cfg.transforms)}
    share |= {"draw_seed": draw_seed(cfg)}
    share |= {"division": division} if cfg.loader.decoder == AUTO else {}
    return made(split, order, cfg.data, cfg.sampling, worker.device, sizes=sizes, **share)
