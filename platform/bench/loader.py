"""The loader against the usual pipeline: webdataset, Pillow and torchvision's transforms in a DataLoader.

Both read the same shards of the same photographs at the same size, in turns; CPU time is that of the process.
The platform's loader gives uint8 to the device, which normalises; another figure includes that on CPU.
"""

import contextlib
import gc
import io
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from PIL import Image

from platform.bench.figures import Figures
from platform.bench.photographs import BATCH, Photos, packed
from platform.config.checks import ConfigError
from platform.config.data import DataConfig
from platform.config.sections import Config
from platform.data import draws
from platform.data.decode import EncodedImage
from platform.data.index import Split
from platform.data.resize import resize, resize_into
from platform.data.sampling import DRAWS, Crop, crop
from platform.packing.restart_markers import require_program

SHRUNK_SIDE, SHRUNK_QUALITY = 256, 90
COMPARED = 200  # images whose pixels are compared with Pillow's
MEMORY_PASSES = 6
MEMBERS = 7  # of the ensemble of the GoogLeNet paper


def measure(config: Config, folder: Path, figures: Figures) -> None:
    """Measure both pipelines; `loader.*` into `figures`, temporary files into `folder`."""
    torch.set_num_threads(1)
    photos = packed(config, folder)
    side = max(SHRUNK_SIDE, config.bench.image_size)
    shrunk = packed(config, folder, shorter_side=side, jpeg_quality=SHRUNK_QUALITY)
    _speed(config, photos, shrunk, _marked(config, folder), figures)
    _overhead(config, photos, figures)
    _fidelity(photos, figures)
    _memory(photos, figures)


def _marked(config: Config, folder: Path) -> Photos | None:
    """The photographs with restart markers; None: no program here writes them."""
    try:
        require_program()
    except ConfigError as error:
        print(f"loader.markers_ratio is not measured: {error}")
        return None
    return packed(config, folder, restart_markers=True)


def _speed(config: Config, photos: Photos, shrunk: Photos, marked: Photos | None, figures: Figures) -> None:
    reference = _reference(photos.data, photos.split)
    for read in (photos, shrunk, *([marked] if marked else [])):
        read.read(1)  # caches and imports
    reference(0)
    for _ in range(config.bench.repeats):
        usual = photos.split.samples / _cpu_s(lambda: reference(0))  # it reads and is credited every sample
        with _as_in_a_worker():
            speed = photos.images / _cpu_s(lambda: photos.read(1))
            normalised = photos.images / _cpu_s(lambda: photos.read(1, normalise=True))
            small = shrunk.images / _cpu_s(lambda: shrunk.read(1))
            cut = marked.images / _cpu_s(lambda: marked.read(1)) if marked else 0
            shared = MEMBERS * photos.images / _cpu_s(lambda: photos.read_shared(MEMBERS, 1))
        figures.add("loader.images_per_cpu_s", speed, "images a CPU-second, platform: uint8 batches")
        figures.add("loader.reference_per_cpu_s", usual, "the same, webdataset + PIL + torchvision")
        figures.add("loader.cpu_ratio", speed / usual, "platform over reference")
        figures.add("loader.normalised_cpu_ratio", normalised / usual, "with mirroring and normalising, on the CPU")
        figures.add(
            "loader.preshrunk_ratio",
            small / usual,
            f"platform on shards shrunk to {shrunk.data.shorter_side} px, over reference",
        )
        if marked:
            figures.add("loader.markers_ratio", cut / usual, "platform on shards with restart markers, over reference")
        figures.add("loader.shared_per_cpu_s", shared, f"crops a CPU-second for {MEMBERS} members with one order")
        figures.add("loader.shared_ratio", shared / usual, "the same over the reference, for one member")
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


def _cpu_s(work: Callable[[], None]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _wall_s(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
