"""The network that is evaluated: a copy with the averaged weights, and batch norm statistics that are its own."""

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from platform.config.sections import Config
from platform.data.pixels import Pixels
from platform.data.train_loader import TrainLoader
from platform.training import batch_norm
from platform.training.division import known
from platform.training.feed import Feed
from platform.training.progress import Progress
from platform.training.state import TrainingState


@dataclass(frozen=True)
class AveragedNetwork:
    """Makes it, at any step of a training under way."""

    cfg: Config
    feed: Feed  # training images as large as in testing, for the statistics
    state: TrainingState
    pixels: Pixels
    dtype: torch.dtype  # of matrix products and convolutions
    progress: Progress

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
        if several and batch_norm.layers(network, self.cfg.model.freeze):
            with self.feed.open(division=known(self.cfg.loader, self.state)) as loader:
                self._recompute_statistics(network, loader, step)
        return network

    def save_kept(self, folder: Path, step: int) -> None:
        """Write the further networks of the training after `step`, each as it is evaluated; every rank calls this.

        Raises:
            StorageError: the disk does not take it.
        """
        if self.state.kept:
            as_evaluated = lambda weights, several: self.of(weights, step, several=several)  # noqa: E731
            self.state.kept.save(folder, step, as_evaluated, write=self.feed.worker.rank == 0)

    def _recompute_statistics(self, network: nn.Module, loader: TrainLoader, step: int) -> None:
        """Of its batch norms but the frozen ones, from the training images that came last."""
        cfg, worker, order = self.cfg, self.feed.worker, self.feed.order
        images = batch_norm.newest_images(loader, order, step, worker, self.pixels, cfg.sampling, cfg.transforms)
        watched = _watched(images, self.progress)
        batch_norm.recompute(network, watched, order.streams, worker, self.dtype, cfg.model.freeze)

    def _share_statistics(self, weights: dict[str, Tensor]) -> None:
        """Average over rank 0's batch norm statistics on every rank: each replica's are of its own share of batches.

        Buffers that no state has, such as Swin's indices, are what the network was built with.
        """
        if self.feed.worker.world > 1:
            for name, _ in self.state.module.named_buffers():
                if name in weights:
                    dist.broadcast(weights[name], src=0)


def _watched(images: Iterable[Tensor], progress: Progress) -> Iterator[Tensor]:
    for some in images:
        progress.moved()
        yield some
