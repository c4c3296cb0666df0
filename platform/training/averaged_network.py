"""The network that is evaluated: a copy with the averaged weights, and batch norm statistics that are its own."""

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from platform.config.sampling import SamplingConfig
from platform.config.transforms import TransformsConfig
from platform.data.loader import TrainLoader
from platform.data.order import Order
from platform.data.pixels import Pixels
from platform.training import batch_norm
from platform.training.progress import Progress
from platform.training.state import TrainingState
from platform.training.worker import Worker


@dataclass(frozen=True)
class AveragedNetwork:
    """Makes it, at any step of a training under way."""

    state: TrainingState
    worker: Worker
    order: Order
    open_loader: Callable[[], TrainLoader]  # of training images as large as in testing, for the statistics
    pixels: Pixels
    sampling: SamplingConfig
    transforms: TransformsConfig
    dtype: torch.dtype  # of matrix products and convolutions
    progress: Progress
    frozen: Sequence[str] = ()  # beginnings of the names of layers that keep their statistics

    def after(self, step: int) -> nn.Module:
        """The network after `step` global steps, in evaluation mode; every rank calls this, and has the same."""
        average = self.state.average
        return self.of(average.state, step, several=average.is_of_several(step))

    def of(self, weights: dict[str, Tensor], step: int, *, several: bool) -> nn.Module:
        """The network with other weights of the same training, in the same way.

        Args:
            weights: its state.
            step: global steps that are done.
            several: whether they are an average of the weights after several steps.
        """
        self._share_statistics(weights)
        network = copy.deepcopy(self.state.module).eval()
        network.load_state_dict(weights)
        if several and batch_norm.layers(network, self.frozen):
            with self.open_loader() as loader:
                images = batch_norm.newest_images(
                    loader, self.order, step, self.worker, self.pixels, self.sampling, self.transforms
                )
                watched = _watched(images, self.progress)
                batch_norm.recompute(network, watched, self.order.streams, self.worker, self.dtype, self.frozen)
        return network

    def _share_statistics(self, weights: dict[str, Tensor]) -> None:
        """Average over rank 0's batch norm statistics on every rank: each replica's are of its own share of batches."""
        if self.worker.world > 1:
            for name, _ in self.state.module.named_buffers():
                dist.broadcast(weights[name], src=0)


def _watched(images: Iterable[Tensor], progress: Progress) -> Iterator[Tensor]:
    for some in images:
        progress.moved()
        yield some
