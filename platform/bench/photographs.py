"""Photographs for the benchmark, packed, and how they are read.

In: a tar of JPEG files, or nothing. Out: shards, and loaders of theirs.
"""

import io
import tarfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from platform.config.checks import ConfigError
from platform.config.data import DataConfig
from platform.config.sampling import SamplingConfig
from platform.config.sections import Config
from platform.data.index import Split, read_index
from platform.data.order import Order
from platform.data.pixels import Pixels
from platform.data.shared_loader import MemberDraws, SharedLoader
from platform.data.train_loader import TrainLoader
from platform.packing.pack import pack

BATCH = 32
MADE_PHOTOS = 120
PHOTO_SIZE = (500, 375)  # of ImageNet's photographs, mostly


@dataclass(frozen=True)
class Photos:
    """Packed photographs and how they are read."""

    split: Split
    data: DataConfig
    sampling: SamplingConfig
    order: Order

    @property
    def images(self) -> int:
        """Images of an epoch, in whole batches."""
        return self.order.steps_per_epoch * BATCH

    def loader(self, threads: int) -> TrainLoader:
        """A loader of the platform's with so many threads."""
        return TrainLoader(self.split, self.order, self.data, self.sampling, threads=threads)

    def read(self, threads: int, *, normalise: bool = False) -> None:
        """Read one epoch; mirror and normalise too, which is the device's work, if `normalise`."""
        pixels = Pixels(self.data, torch.device("cpu"))
        with self.loader(threads) as loader:
            for batch in loader.steps(0, self.order.steps_per_epoch):
                if normalise:
                    pixels.training(batch.images, batch.mirrored_N, batch.colour_draws_N8, self.sampling)

    def read_shared(self, members: int, threads: int) -> None:
        """Read one epoch for so many members, each with crops of its own."""
        draws = [MemberDraws(self.sampling, seed) for seed in range(members)]
        with SharedLoader(self.split, self.order, self.data, draws, threads=threads) as loader:
            for _ in loader.member_steps(0, self.order.steps_per_epoch):
                pass


def packed(config: Config, folder: Path, **packing: Any) -> Photos:
    """The photographs as shards; at least two, so that two DataLoader workers have one each."""
    source = folder / "photos"
    if not source.exists():
        for number, jpeg in enumerate(photographs(config.bench.photos)):
            path = source / f"class{number % 2}" / f"{number:05d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(jpeg)
    data = DataConfig(
        name="photos",
        source=str(source),
        shards=str(folder / f"shards{'-'.join(map(str, packing.values()))}"),
        classes=2,
        image_size=config.bench.image_size,
        val_fraction=0.02,
        samples_per_shard=max(1, sum(1 for _ in source.rglob("*.jpg")) // 4),
        **packing,
    )
    pack(data)
    split = read_index(data.shards).split("train")
    order = Order.of(split, 1, BATCH, config.loader.block, config.seed)
    return Photos(split, replace(data, source=None), config.sampling, order)


def photographs(path: str | None) -> list[bytes]:
    """JPEG files of a tar, or variations of scikit-learn's two photographs at ImageNet's usual size."""
    if path is not None:
        if not Path(path).exists():
            raise ConfigError(f"bench.photos is {path}, which does not exist; give a tar of JPEG files")
        with tarfile.open(path) as tar:
            members = [m for m in tar if m.isfile() and m.name.lower().endswith((".jpg", ".jpeg"))]
            found = [tar.extractfile(member).read() for member in members]  # type: ignore[union-attr]
        if len(found) < 2 * BATCH:
            raise ConfigError(f"bench.photos {path} has {len(found)} JPEG files; at least {2 * BATCH} are needed")
        return found
    from sklearn.datasets import load_sample_images

    originals = [Image.fromarray(image) for image in load_sample_images().images]
    random = np.random.Generator(np.random.Philox(0))
    return [_variation(originals[number % 2], random) for number in range(MADE_PHOTOS)]


def _variation(image: Image.Image, random: np.random.Generator) -> bytes:
    width = int(random.integers(image.width * 3 // 4, image.width))
    height = width * PHOTO_SIZE[1] // PHOTO_SIZE[0]
    height = min(height, image.height)
    left, top = int(random.integers(image.width - width + 1)), int(random.integers(image.height - height + 1))
    buffer = io.BytesIO()
    image.crop((left, top, left + width, top + height)).resize(PHOTO_SIZE).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()
