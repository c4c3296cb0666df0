"""The loader against the usual pipeline: webdataset, Pillow and torchvision's transforms in a DataLoader.

Both read the same shards of the same photographs at the same size, in turns; processor time is the process's own.
The platform's loader hands uint8 to the device, which normalises; the figure that adds this on the CPU is beside it.
"""

import io
import tarfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from platform.bench.figures import Figures
from platform.config import Config, ConfigError, DataConfig
from platform.data.index import Split, read_index
from platform.data.loader import TrainLoader
from platform.data.order import Order
from platform.data.pack import pack
from platform.data.pixels import Pixels

BATCH = 32
MADE_PHOTOS = 120
PHOTO_SIZE = (500, 375)  # of ImageNet's photographs, mostly


def measure(config: Config, folder: Path, figures: Figures) -> None:
    """Images a second and processor second of both, into `figures` (`loader.*`); scratch files go into `folder`."""
    torch.set_num_threads(1)
    split, data = _shards(config, folder)
    images = split.samples // BATCH * BATCH  # whole batches; the reference reads and is credited every sample
    ours, reference = _ours(config, data, split, images), _reference(data, split)
    ours(1)  # caches and imports
    reference(0)
    for _ in range(config.bench.repeats):
        speed = images / _cpu_s(lambda: ours(1))
        normalised = images / _cpu_s(lambda: ours(1, normalise=True))
        reference_speed = split.samples / _cpu_s(lambda: reference(0))
        figures.add("loader.images_per_cpu_s", speed, "images a processor second, platform: uint8 batches")
        figures.add("loader.reference_per_cpu_s", reference_speed, "the same, webdataset + PIL + torchvision")
        figures.add("loader.cpu_ratio", speed / reference_speed, "platform over reference")
        figures.add(
            "loader.normalised_cpu_ratio", normalised / reference_speed, "with mirroring and normalising, on the CPU"
        )
        speed, reference_speed = images / _wall_s(lambda: ours(2)), split.samples / _wall_s(lambda: reference(2))
        figures.add("loader.images_per_s_2", speed, "images a second with two threads")
        figures.add("loader.wall_ratio_2cores", speed / reference_speed, "over the reference's two DataLoader workers")


def _ours(config: Config, data: DataConfig, split: Split, images: int) -> Callable[..., None]:
    order = Order.of(split, 1, BATCH, config.loader.block, config.seed)
    pixels = Pixels(data, torch.device("cpu"))

    def read(threads: int, *, normalise: bool = False) -> None:
        with TrainLoader(split, order, data, config.sampling, threads=threads) as loader:
            for batch in loader.steps(0, images // BATCH):
                if normalise:
                    pixels.training(batch.images, batch.mirrored_N, batch.colour_draws_N8, config.sampling)

    return read


def _reference(data: DataConfig, split: Split) -> Callable[[int], None]:
    """What most people write: it hands over normalised floats, and has no other way."""
    import webdataset.compat as webdataset
    from torchvision import transforms

    transform = transforms.Compose(
        [
            transforms.RandomResizedCrop(data.image_size),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(data.mean, data.std),
        ]
    )
    urls = [shard.url for shard in split.shards]

    def read(workers: int) -> None:
        dataset: Any = (
            webdataset.WebDataset(urls, shardshuffle=False, empty_check=False)
            .decode("pil")
            .to_tuple("jpg", "cls")
            .map_tuple(transform, int)
            .batched(BATCH, partial=True)
        )
        loader = torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=workers)
        seen = sum(len(labels) for _, labels in loader)
        if seen != split.samples:
            raise RuntimeError(f"the reference read {seen} of {split.samples} images")

    return read


def _shards(config: Config, folder: Path) -> tuple[Split, DataConfig]:
    """The photographs as shards; at least two, so that two DataLoader workers have one each."""
    photos = _photographs(config.bench.photos)
    source = folder / "photos"
    for number, jpeg in enumerate(photos):
        path = source / f"class{number % 2}" / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg)
    data = DataConfig(
        name="photos",
        source=str(source),
        shards=str(folder / "shards"),
        classes=2,
        image_size=config.bench.image_size,
        val_fraction=0.02,
        samples_per_shard=max(1, len(photos) // 4),
    )
    pack(data)
    return read_index(data.shards).split("train"), replace(data, source=None)


def _photographs(path: str | None) -> list[bytes]:
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


def _cpu_s(work: Callable[[], None]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _wall_s(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
