"""The training stream as a stock `torch.utils.data.IterableDataset`, for training loops other than the platform's.

In: shards, seeds, a global batch size. Out: this rank's decoded batches, in the platform's order and with its crops.
The position is one integer, saved and loaded by `state_dict` and `load_state_dict`.
"""

import logging
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from platform.cluster.resources import cpus_here
from platform.config.checks import ConfigError, require
from platform.config.data import NOT_BALANCED, DataConfig, LoaderConfig, StorageConfig
from platform.config.sampling import SamplingConfig
from platform.data.batch import Batch
from platform.data.index import Index
from platform.data.normalise import RowNormaliser
from platform.data.pixels import Pixels
from platform.data.sets import TRAIN, read_sets, require_same_classes, training_split
from platform.data.train_loader import TrainLoader
from platform.data.training_order import member_order

log = logging.getLogger("platform.data")
CPU = torch.device("cpu")
NEWER = {
    "data.balance": NOT_BALANCED,
    "data.also": {},
}  # of states saved before there were these


class ImageBatch(NamedTuple):
    """One rank's share of a global batch, in CPU memory."""

    images: Tensor  # uint8 [N, H, W, 3]; normalised: float32 [N, 3, H, W], channels_last
    labels_N: Tensor  # int64
    ids_N: Tensor  # int64, each sample's place in the split's index


class ShardDataset(IterableDataset[ImageBatch]):
    """Decoded training batches of one split. Iterating goes from the current step to the end of its epoch.

    The next iteration goes on from there, so a loop over epochs iterates again and again. For the same data, seeds,
    streams, block and batch size, every rank gets the samples and crops that the platform's own training would see.

    Args:
        data: the shards, their classes and the size of the images in pixels.
        batch_size: global, over all ranks; a multiple of `loader.streams`.
        loader: order and decoding. `threads=0` decodes with one thread for each CPU of this process.
        sampling: how training crops are drawn.
        storage: how remote shards are fetched and cached.
        seed: with `order_seed`, of everything drawn: the config keys of the same names.
        order_seed: order of the images and their crops.
        split: a part of the data set.
        normalised: True gives the network's input, with colours distorted if `sampling.photometric` and normalised by
            `data.mean` and `data.std`. False gives bytes, mirrored where drawn and otherwise unchanged.
        rank: of this process; by default torch.distributed's where it is initialised, else 0.
        world: number of ranks, at most `loader.streams`; by default torch.distributed's, else 1.

    Raises:
        ConfigError: settings that do not fit together.
        ShardError: there is no index at `data.shards`, or a local shard is missing.

    `__iter__` raises ConfigError in a DataLoader's worker process, and ShardError for shards that cannot be read.
    """

    def __init__(
        self,
        data: DataConfig,
        batch_size: int,
        *,
        loader: LoaderConfig | None = None,
        sampling: SamplingConfig | None = None,
        storage: StorageConfig | None = None,
        seed: int = 0,
        order_seed: int = 0,
        split: str = "train",
        normalised: bool = True,
        rank: int | None = None,
        world: int | None = None,
    ) -> None:
        self._data, self._loader, self._sampling = data, loader or LoaderConfig(), sampling or SamplingConfig()
        self._rank, self._world = rank, world
        self._check(batch_size, normalised=normalised)
        require(
            split == TRAIN or not data.also,
            f"split is {split}, and data.also blends training images; leave out data.also, or give split={TRAIN}",
        )
        index = read_sets(data, storage)
        self._split = training_split(index, data) if data.also else index.split(split)
        for said in require_same_classes(index):
            log.warning(said)
        self._order = member_order(self._split, self._loader, batch_size, seed, order_seed, data.balance)
        self._pixels = Pixels(data, CPU) if normalised else None
        self._normalise = RowNormaliser(data.mean, data.std)
        self.step = 0  # global step of the next batch, counted over all epochs
        self._identity = {  # what a state must agree with, by the argument's name
            "split": split,
            "batch_size": batch_size,
            "seed": seed,
            "order_seed": order_seed,
            "loader.streams": self._loader.streams,
            "loader.block": self._loader.block,
            "data.balance": data.balance,
            "data.shards (digest)": index.split(split).digest,
            "data.also": _also(index, data),
        }

    @property
    def classes(self) -> int:
        """Number of classes; labels are below it."""
        return self._data.classes

    @property
    def steps_per_epoch(self) -> int:
        """Global batches of an epoch; the samples beyond the last whole batch are different ones in each epoch."""
        return self._order.steps_per_epoch

    @property
    def epoch(self) -> int:
        """Number of epochs done: the epoch of the next batch, counted from 0."""
        return self.step // self.steps_per_epoch

    def __len__(self) -> int:
        """Batches of a whole epoch; an iteration that resumes within an epoch yields fewer."""
        return self.steps_per_epoch

    def __iter__(self) -> Iterator[ImageBatch]:
        require(
            get_worker_info() is None,
            "ShardDataset is in a DataLoader worker process, which would read ahead of the state that is saved; use "
            "num_workers=0: batches are decoded ahead in loader.threads threads, which release the GIL",
        )
        return self._rest_of_epoch(*self._rank_and_world())

    def state_dict(self) -> dict[str, Any]:
        """The step of the next batch and what it counts in; the same on every rank, for any number of ranks."""
        return {"step": self.step, **self._identity}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next iteration start where `state` was saved, with any number of ranks.

        Args:
            state: from `state_dict`.

        Raises:
            ConfigError: it was saved with other data, seeds, streams, block or batch size, or it is no such state.
        """
        for key, here in self._identity.items():
            saved = state.get(key, NEWER.get(key))
            require(
                saved == here,
                f"{key} is {here!r}, the state was saved with {saved!r}; use that value, or start at step 0",
            )
        step = state.get("step")
        if type(step) is not int or step < 0:
            raise ConfigError(f"the state's step is {step!r}; give what state_dict returned, an integer of at least 0")
        self.step = step

    def _check(self, batch_size: int, *, normalised: bool) -> None:
        streams = self._loader.streams
        require(
            batch_size > 0 and batch_size % streams == 0,
            f"batch_size is {batch_size}, not a multiple of loader.streams ({streams}); change one of them",
        )
        require(
            self._loader.decoder == "cpu",
            f"loader.decoder is {self._loader.decoder}, but ShardDataset decodes on CPU; give cpu",
        )
        require(
            normalised or not self._sampling.photometric,
            "sampling.photometric is true, but bytes are not distorted; give normalised=True or photometric=False",
        )
        require(self._sampling.repeats == 1, "sampling.repeats is of the platform's own training; give 1")
        require(
            (self._rank is None) == (self._world is None),
            f"rank is {self._rank} and world is {self._world}; give both or neither",
        )

    def _rank_and_world(self) -> tuple[int, int]:
        """Read at the start of an iteration: Lightning initialises torch.distributed after the dataset is made."""
        rank, world = self._rank, self._world
        if rank is None or world is None:
            ready = dist.is_available() and dist.is_initialized()
            rank, world = (dist.get_rank(), dist.get_world_size()) if ready else (0, 1)
        streams = self._loader.streams
        require(world <= streams, f"world is {world}, more than loader.streams ({streams}); raise loader.streams")
        require(0 <= rank < world, f"rank is {rank} of world {world}; give 0 to {world - 1}")
        return rank, world

    def _rest_of_epoch(self, rank: int, world: int) -> Iterator[ImageBatch]:
        stop = (self.epoch + 1) * self.steps_per_epoch
        steps = range(self.step, stop)
        with TrainLoader(
            self._split,
            self._order,
            self._data,
            self._sampling,
            rank=rank,
            world=world,
            threads=self._loader.threads or cpus_here(),
            prefetch=self._loader.prefetch_batches,
        ) as loader:
            for step, batch in zip(steps, loader.steps(self.step, stop), strict=True):
                self.step = step + 1  # what is handed out counts as trained: a state saved now goes on after it
                yield ImageBatch(self._images(batch), batch.labels_N, batch.ids_N)

    def _images(self, batch: Batch) -> Tensor:
        if self._pixels is not None and self._sampling.photometric:
            return self._pixels.training(batch.images, batch.mirrored_N, batch.colour_draws_N8, self._sampling)
        images = batch.images
        if self._data.mirror:
            images = torch.where(batch.mirrored_N.view(-1, 1, 1, 1), images.flip(2), images)
        return images if self._pixels is None else self._normalise(images)


def _also(index: Index, data: DataConfig) -> dict[str, list[Any]]:
    """Of each further set, the weight and a digest of its shards."""
    return {name: [each.weight, index.also[name].split(TRAIN).digest] for name, each in data.others.items()}
