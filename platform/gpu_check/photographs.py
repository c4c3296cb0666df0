"""Photographs that nobody took, packed into shards: what loaders and whole trainings read here.

In: a seed. Out: JPEG files of noise whose amplitude falls with its frequency, as that of photographs does, so that a
decoder has about their work; shards of them, of two classes.
"""

import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from platform.config.checks import ConfigError
from platform.config.data import DataConfig
from platform.data.index import Index, read_index
from platform.packing.pack import pack

SIZE = (375, 500)  # height and width in pixels, ImageNet's usual ones
QUALITY = 92
CLASSES = 2


@dataclass(frozen=True)
class Packed:
    """Shards, and how they are read."""

    data: DataConfig
    index: Index


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
        folder: of the photographs and the shards.
        count: of photographs, for training and validation together.
        image_size: pixels of a network's input; the shards hold images with shorter sides of 8/7 of it.
        photos: a tar of JPEG files to take instead.

    Raises:
        ConfigError: the tar has too few.
    """
    source = folder / "photographs"
    if not source.exists():
        for number, jpeg in enumerate(_given(photos) if photos else map(photograph, range(count))):
            path = source / f"class{number % CLASSES}" / f"{number:06d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(jpeg)
    data = DataConfig(
        name="photographs",
        source=str(source),
        shards=str(folder / f"shards{image_size}"),
        classes=CLASSES,
        image_size=image_size,
        shorter_side=image_size * 8 // 7,
        jpeg_quality=90,
        samples_per_shard=max(1, count // 8),
    )
    pack(data)
    return Packed(data, read_index(data.shards))


def _given(photos: Path) -> list[bytes]:
    with tarfile.open(photos) as tar:
        wanted = [each for each in tar if each.isfile() and each.name.lower().endswith((".jpg", ".jpeg"))]
        found = [file.read() for each in wanted if (file := tar.extractfile(each)) is not None]
    if len(found) < 64:
        raise ConfigError(f"--photos {photos} has {len(found)} JPEG files; give a tar of 64 or more")
    return found
