"""Single-view scores while a member is trained: a network and a split in, top-1, top-5 and loss of all workers out."""

import torch
import torch.distributed as dist
from torch import nn

from platform.data.cache import ShardError
from platform.data.index import Split
from platform.data.order import evaluation_share
from platform.data.pixels import Pixels
from platform.evaluation.metrics import Scores
from platform.evaluation.predict import PredictConfig, predict
from platform.training.peers import meet
from platform.training.progress import Progress
from platform.training.worker import Worker


def evaluate(
    model: nn.Module,
    cfg: PredictConfig,
    split: Split,
    worker: Worker,
    pixels: Pixels,
    dtype: torch.dtype,
    progress: Progress,
) -> Scores:
    """Single-view scores over the whole split, the same on every rank.

    Args:
        model: in evaluation mode, on the worker's device; the same on every rank, which all call this.
        cfg: how images are read.
        split: each of its samples is scored once, by one of the workers.
        worker: this one.
        pixels: normalises images on its device.
        dtype: of matrix products and convolutions.
        progress: is told that it moves on, and not to wait for a network that compiles.

    Raises:
        RuntimeError: the samples counted over all workers are not the split's.
        ShardError: none of them can be decoded.
    """
    share = evaluation_share(split.samples, worker.rank, worker.world)
    scores = Scores()
    for some in predict(model, split, share, 1, cfg, pixels, dtype, worker.threads, progress.excused):
        progress.moved()
        scores += Scores.of(some.probs_NVK[:, 0], torch.from_numpy(some.labels_N), torch.from_numpy(some.valid_N))
    sums = torch.tensor(scores.as_list(), dtype=torch.float64, device=worker.device)
    meet(worker, progress.moved)
    if worker.world > 1:
        dist.all_reduce(sums)
    samples, top1, top5, loss, corrupt = sums.tolist()  # sync point
    if int(samples + corrupt) != split.samples:
        raise RuntimeError(f"evaluated {int(samples + corrupt)} samples, the split has {split.samples}")
    if not samples:
        raise ShardError(f"none of the {split.samples} images of {split.name} can be decoded; mend the shards")
    return Scores(int(samples), int(top1), int(top5), loss, int(corrupt))
