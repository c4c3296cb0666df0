"""What several tests of the data path need: shards made by hand, and real photographs."""

import io
from pathlib import Path

import numpy as np
import pytest
import sklearn
from PIL import Image

from tests.data.handmade import MakeShards, write_index, write_tar
from tests.data.packed import class_files, write_files


@pytest.fixture
def make_shards(tmp_path: Path) -> MakeShards:
    """Function: one dict of members (name -> bytes) for each shard -> folder of shards with their index."""

    def make(*shards: dict[str, bytes]) -> Path:
        counts = {}
        for number, members in enumerate(shards):
            path = write_tar(tmp_path / f"train-{number:06d}.tar", members)
            counts[path.name] = len({name.partition(".")[0] for name in members})
        return write_index(tmp_path, counts)

    return make


@pytest.fixture(scope="session")
def photos() -> list[bytes]:
    """scikit-learn's two real photographs, 640x427, as JPEG files."""
    folder = Path(sklearn.__file__).parent / "datasets" / "images"
    return [(folder / name).read_bytes() for name in ("china.jpg", "flower.jpg")]


@pytest.fixture(scope="session")
def small_jpegs() -> list[bytes]:
    """Twelve JPEG files of 40x36 px that all differ."""
    rng = np.random.default_rng(0)
    files = []
    for _ in range(12):
        buffer = io.BytesIO()
        coarse = Image.fromarray(rng.integers(0, 256, (9, 10, 3), dtype=np.uint8))
        coarse.resize((40, 36), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
        files.append(buffer.getvalue())
    return files


@pytest.fixture
def class_folder(tmp_path: Path, small_jpegs: list[bytes]) -> Path:
    return write_files(tmp_path / "source", class_files(small_jpegs))
