"""The images that all loaders read: stock WebDataset shards, and the same as a folder of images.

Each sample has a label of its own, its number: whichever library hands out a batch says by its labels which samples
are in it, without being asked for more than its users ask for.
"""

import io
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from platform.bench.tars import add_file
from platform.config.data import DataConfig

SHARDS = 12  # three or more for each worker of two ranks, two or more of three


@dataclass(frozen=True)
class Samples:
    """Where they are."""

    shards: list[str]
    folder: str
    count: int

    def job(self, name: str, scratch: Path, **rest: Any) -> dict[str, Any]:
        """What every job of one loader says of them; see `programs/participant.py`."""
        data = DataConfig()
        return {
            "shards": self.shards,
            "folder": self.folder,
            "samples": self.count,
            "converted": str(Path(self.folder).parent / f"of-{name}"),
            "scratch": str(scratch),
            "mean": data.mean,
            "std": data.std,
            **rest,
        }


def write(jpegs: list[bytes], count: int, folder: Path) -> Samples:
    """Write so many samples, `jpegs` again and again.

    Args:
        jpegs: the images' files.
        count: a multiple of SHARDS, so that ranks and workers may have equal shares.
        folder: is made.
    """
    assert count % SHARDS == 0
    (folder / "shards").mkdir(parents=True)
    shards = []
    for shard in range(SHARDS):
        path = folder / "shards" / f"train-{shard:06d}.tar"
        with tarfile.open(path, "w") as tar:
            for number in range(shard * count // SHARDS, (shard + 1) * count // SHARDS):
                jpeg = jpegs[number % len(jpegs)]
                add_file(tar, f"{number:06d}.jpg", jpeg)
                add_file(tar, f"{number:06d}.cls", f"{number:06d}".encode())
                image = folder / "images" / f"{number:06d}" / "image.jpg"
                image.parent.mkdir(parents=True)
                image.write_bytes(jpeg)
        shards.append(str(path))
    return Samples(shards, str(folder / "images"), count)


def thumbnail(jpeg: bytes, side: int) -> bytes:
    """A small JPEG of the image."""
    small = Image.open(io.BytesIO(jpeg)).convert("RGB").resize((side, side))
    out = io.BytesIO()
    small.save(out, "JPEG", quality=90)
    return out.getvalue()
