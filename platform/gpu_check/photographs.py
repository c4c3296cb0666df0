"""Photographs that nobody took, packed into shards: what loaders and whole trainings read here.

In: a seed. Out: JPEG files of noise whose amplitude falls with its frequency, as that of photographs does, so that a
decoder has about their work; shards of them, of two classes.
"""

import functools
import hashlib
import io
import json
import tarfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from platform.bench.tars import add_file
from platform.cluster.resources import cpus_here
from platform.config.checks import ConfigError
from platform.config.data import DataConfig
from platform.data.index import Index, read_index
from platform.data.index_file import INDEX_NAME, KIND
from platform.files import write_atomically

SIZE = (375, 500)  # height and width in pixels, ImageNet's usual ones
QUALITY = 92
CLASSES = 2
TRAINED_SHARDS = 8
FEWEST = 64  # files of a tar that is given


@dataclass(frozen=True)
class Packed:
    """Shards, and how they are read."""

    data: DataConfig
    index: Index


@functools.cache
def photograph(seed: int) -> bytes:
    """A JPEG file, the same for the same seed."""
    random = np.random.Generator(np.random.Philox(seed))
    vertical, horizontal = np.fft.fftfreq(SIZE[0])[:, None], np.fft.rfftfreq(SIZE[1])[None]
    frequency = np.sqrt(vertical**2 + horizontal**2)
    frequency[0, 0] = 1.0
    grey, *colours = (np.fft.irfft2(np.fft.rfft2(random.normal(size=SIZE)) / frequency**1.2, s=SIZE) for _ in range(4))
    channels = np.stack([grey / grey.std() + 0.4 * colour / colour.std() for colour in colours], axis=2)
    buffer = io.BytesIO()
    Image.fromarray((128 + 48 * channels).clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def packed(folder: Path, count: int, image_size: int, photos: Path | None = None) -> Packed:
    """Shards in a folder, made there unless they are there.

    Args:
        folder: of the shards.
        count: of photographs, a fifth of them for validation.
        image_size: pixels of a network's input; the shards hold images with shorter sides of 8/7 of it.
        photos: a tar of JPEG files to take instead, all of them.

    Raises:
        ConfigError: the tar has too few.
    """
    place = folder / f"shards{image_size}"
    data = DataConfig(name="photographs", shards=str(place), classes=CLASSES, image_size=image_size)
    if not place.exists():
        place.mkdir(parents=True)
        with ThreadPoolExecutor(cpus_here()) as threads:  # transforms and codecs release the GIL
            whole = _given(photos) or threads.map(photograph, range(count))
            images = list(threads.map(lambda jpeg: _shrunk(jpeg, image_size * 8 // 7), whole))
        validated = len(images) // 5
        write_atomically(place / INDEX_NAME, json.dumps(_index(place, images[validated:], images[:validated])))
    return Packed(data, read_index(data.shards))


def _index(place: Path, trained: list[bytes], validated: list[bytes]) -> dict[str, Any]:
    """The index of shards that are written here: job=pack needs webdataset, which a bare machine lacks."""
    entries = []
    for split, images, shards in (("train", trained, TRAINED_SHARDS), ("val", validated, 1)):
        for number in range(shards):
            part = range(number * len(images) // shards, (number + 1) * len(images) // shards)
            path = place / f"{split}-{number:06d}.tar"
            _write_shard(path, {image: images[image] for image in part})
            content = path.read_bytes()
            digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
            size = {"nsamples": len(part), "filesize": len(content)}
            entries.append({"url": path.name, "split": split, "md5sum": digest} | size)
    return {"__kind__": KIND, "classes": [f"class{label}" for label in range(CLASSES)], "shardlist": entries}


def _write_shard(path: Path, images: dict[int, bytes]) -> None:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for number, jpeg in images.items():
            for kind, content in (("cls", str(number % CLASSES).encode()), ("jpg", jpeg)):
                add_file(tar, f"{number:06d}.{kind}", content)


def _shrunk(jpeg: bytes, shorter_side: int) -> bytes:
    image = Image.open(io.BytesIO(jpeg)).convert("RGB")
    scale = shorter_side / min(image.size)
    if scale >= 1:
        return jpeg
    buffer = io.BytesIO()
    image.resize((round(image.width * scale), round(image.height * scale)), reducing_gap=2.0).save(
        buffer, "JPEG", quality=QUALITY
    )
    return buffer.getvalue()


def _given(photos: Path | None) -> list[bytes]:
    if photos is None:
        return []
    with tarfile.open(photos) as tar:
        wanted = [each for each in tar if each.isfile() and each.name.lower().endswith((".jpg", ".jpeg"))]
        found = [file.read() for each in wanted if (file := tar.extractfile(each)) is not None]
    if len(found) < FEWEST:
        raise ConfigError(f"--photos {photos} has {len(found)} JPEG files; give a tar of {FEWEST} or more")
    return found
