"""The loader against the usual pipeline: webdataset, Pillow and torchvision's transforms in a DataLoader.

Both read the same shards of the same photographs at the same size, in turns; CPU time is that of the process.
The platform's loader gives uint8 to the device, which normalises; another figure includes that on CPU.
"""

import contextlib
import gc
import io
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from PIL import Image

from platform.bench.figures import Figures
from platform.config.checks import ConfigError
from platform.config.data import DataConfig
from platform.config.sampling import SamplingConfig
from platform.config.sections import Config
from platform.data import draws
from platform.data.decode import EncodedImage
from platform.data.index import Split, read_index
from platform.data.loader import TrainLoader
from platform.data.order import Order
from platform.data.pixels import Pixels
from platform.data.resize import resize, resize_into
from platform.data.sampling import DRAWS, Crop, crop
from platform.packing.pack import pack

BATCH = 32
MADE_PHOTOS = 120
PHOTO_SIZE = (500, 375)  # of ImageNet's photographs, mostly
SHRUNK_SIDE, SHRUNK_QUALITY = 256, 90
COMPARED = 200  # images whose pixels are compared with Pillow's
MEMORY_PASSES = 6


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


def measure(config: Config, folder: Path, figures: Figures) -> None:
    """Measure both pipelines; `loader.*` into `figures`, temporary files into `folder`."""
    torch.set_num_threads(1)
    photos = _packed(config, folder)
    side = max(SHRUNK_SIDE, config.bench.image_size)
    shrunk = _packed(config, folder, shorter_side=side, jpeg_quality=SHRUNK_QUALITY)
    _speed(config, photos, shrunk, figures)
    _overhead(config, photos, figures)
    _fidelity(photos, figures)
    _memory(photos, figures)


def _speed(config: Config, photos: Photos, shrunk: Photos, figures: Figures) -> None:
    reference = _reference(photos.data, photos.split)
    photos.read(1)  # caches and imports
    shrunk.read(1)
    reference(0)
    for _ in range(config.bench.repeats):
        usual = photos.split.samples / _cpu_s(lambda: reference(0))  # it reads and is credited every sample
        with _as_in_a_worker():
            speed = photos.images / _cpu_s(lambda: photos.read(1))
            normalised = photos.images / _cpu_s(lambda: photos.read(1, normalise=True))
            small = shrunk.images / _cpu_s(lambda: shrunk.read(1))
        figures.add("loader.images_per_cpu_s", speed, "images a CPU-second, platform: uint8 batches")
        figures.add("loader.reference_per_cpu_s", usual, "the same, webdataset + PIL + torchvision")
        figures.add("loader.cpu_ratio", speed / usual, "platform over reference")
        figures.add("loader.normalised_cpu_ratio", normalised / usual, "with mirroring and normalising, on the CPU")
        figures.add(
            "loader.preshrunk_ratio",
            small / usual,
            f"platform on shards shrunk to {shrunk.data.shorter_side} px, over reference",
        )
        usual = photos.split.samples / _wall_s(lambda: reference(2))
        with _as_in_a_worker():
            speed = photos.images / _wall_s(lambda: photos.read(2))
        figures.add("loader.images_per_s_2", speed, "images a second with two threads")
        figures.add("loader.wall_ratio_2cores", speed / usual, "over the reference's two DataLoader workers")


@contextlib.contextmanager
def _as_in_a_worker() -> Iterator[None]:
    """Exempt imported objects from garbage collection, as lanes/worker.py does; the usual pipeline has no such line."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _overhead(config: Config, photos: Photos, figures: Figures) -> None:
    """Measure what the loader costs besides decoding and resizing the same crops in one thread."""
    ids = np.concatenate([photos.order.batch(step) for step in range(photos.order.steps_per_epoch)])
    contents = [photos.split.read(int(i)).image for i in ids]
    crops = _crops(photos, ids, [EncodedImage(content) for content in contents])
    place = torch.empty(BATCH, photos.data.image_size, photos.data.image_size, 3, dtype=torch.uint8)

    def bare() -> None:
        for n, (content, view) in enumerate(zip(contents, crops, strict=True)):
            resize_into(place[n % BATCH], EncodedImage(content).decode(view.box), view.interpolation)

    for _ in range(config.bench.repeats):
        with _as_in_a_worker():
            alone = _cpu_s(lambda: _in_thread(bare))
            share = 1 - alone / _cpu_s(lambda: photos.read(1))
        figures.add("loader.overhead_share", share, "of the loader's CPU time that is not decoding or resizing")


def _in_thread(work: Callable[[], None]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def _crops(photos: Photos, ids: NDArray[np.int64], images: list[EncodedImage]) -> list[Crop]:
    rows = draws.uniforms(photos.order.seed, 0, ids, DRAWS).tolist()
    return [
        crop(photos.sampling, photos.data, image.width, image.height, row)
        for image, row in zip(images, rows, strict=True)
    ]


def _fidelity(photos: Photos, figures: Figures) -> None:
    """Compare the platform's crops with Pillow's of the fully decoded image, in grey levels."""
    size = photos.data.image_size
    ids = np.arange(min(COMPARED, photos.split.samples))
    encoded = [photos.split.read(int(i)).image for i in ids]
    images = [EncodedImage(content) for content in encoded]
    differences = []
    for content, image, view in zip(encoded, images, _crops(photos, ids, images), strict=True):
        ours = resize(image.decode(view.box), (size, size)).numpy().astype(np.int16)
        box = (view.box.left, view.box.top, view.box.right, view.box.bottom)
        whole = Image.open(io.BytesIO(content)).convert("RGB")
        theirs = np.asarray(whole.crop(box).resize((size, size), Image.Resampling.BILINEAR)).astype(np.int16)
        differences.append(ours - theirs)
    error, bias = float(np.abs(differences).mean()), float(np.mean(differences))
    figures.add("loader.mean_abs_error", error, f"grey levels from Pillow's, over {len(ids)} crops")
    figures.add("loader.bias", bias, "the same with its sign")


def _memory(photos: Photos, figures: Figures) -> None:
    """Measure how much resident memory grows in several epochs after the first."""
    photos.read(2)
    before = psutil.Process().memory_info().rss
    for _ in range(MEMORY_PASSES):
        photos.read(2)
        grown = (psutil.Process().memory_info().rss - before) / 1e6
        figures.add("loader.memory_growth_mb", grown, f"of the process, after each of {MEMORY_PASSES} more passes")


def _reference(data: DataConfig, split: Split) -> Callable[[int], None]:
    """The usual pipeline, which gives normalised floats."""
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


def _packed(config: Config, folder: Path, **packing: Any) -> Photos:
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


def _cpu_s(work: Callable[[], None]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _wall_s(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
