"""Sources of a few small images, and what became of them when packed."""

import hashlib
import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from platform.config.data import DataConfig
from platform.data.index import Index, Sample

CLASSES = ("cat", "dog", "eel")


def config(tmp_path: Path, spec: str | Path | None, **changes: Any) -> DataConfig:
    settings: dict[str, Any] = {"classes": 3, "samples_per_shard": 4} | changes
    return DataConfig(shards=str(tmp_path / "shards"), source=None if spec is None else str(spec), **settings)


def class_files(jpegs: list[bytes], prefix: str = "") -> dict[str, bytes]:
    """Four images of each class: path -> bytes."""
    return {f"{prefix}{CLASSES[i % 3]}/{i:02d}.jpg": jpeg for i, jpeg in enumerate(jpegs)}


def write_files(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def read_split(index: Index, name: str) -> list[Sample]:
    reader = index.split(name)
    return [reader.read(i) for i in range(index.split(name).samples)]


def contents(folder: Path) -> dict[str, str]:
    """File name -> checksum."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def stored_as_packed(index: Index, split: str) -> dict[memoryview, str]:
    return {sample.image: index.classes[sample.label] for sample in read_split(index, split)}


def one_image(file_format: str, mode: str = "RGB") -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, file_format)
    return buffer.getvalue()


def member_names(folder: Path) -> list[str]:
    names: list[str] = []
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            names += tar.getnames()
    return names
