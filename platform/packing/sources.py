"""What can be packed: folders and tars of class folders, lists in CSV or Parquet, data sets of torchvision, the digits.

In: `data.source`. Out: its items, listed without reading an image, and the bytes of one. Sources and items are small
and picklable, so that any process can read its share. Nothing of a source is ever executed or followed as code.
"""

import functools
import io
import logging
import os
import sys
import tarfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Protocol

import numpy as np
from PIL import Image

from platform.config import ConfigError, StorageConfig
from platform.data.storage import is_remote
from platform.packing.datasets import TorchvisionSource
from platform.packing.items import SPLIT_NAMES, Item, Parts, file_stamp
from platform.packing.lists import LIST_SUFFIXES, ListSource

log = logging.getLogger("platform.data")

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm", ".gif", ".tif", ".tiff")
KINDS = "a folder, a tar, a .csv or .parquet list, torchvision:NAME or sklearn:digits"
DIGITS = "sklearn:digits"
DIGITS_SCALE = 4  # the digits' 8x8 px, enlarged so that a crop has pixels to choose from


class Source(Protocol):
    """Images with labels."""

    def parts(self) -> Parts:
        """Every item, in an order that depends on the source alone.

        Raises:
            ConfigError: there are none, or it is not laid out as it should be.
        """
        ...

    def read(self, item: Item) -> bytes | Image.Image:
        """One image, encoded or decoded.

        Raises:
            OSError: it cannot be read.
        """
        ...

    def stamp(self, item: Item) -> str:
        """Changes when the item's bytes do, as far as can be told without reading them."""
        ...


def open_source(spec: str | None, storage: StorageConfig | None = None) -> Source:
    """The source that `data.source` names.

    Raises:
        ConfigError: there is no such source.
    """
    storage = storage or StorageConfig()
    if spec is None:
        raise ConfigError(f"data.source is not set; give {KINDS}")
    if spec == DIGITS:
        return DigitsSource()
    if spec.startswith("torchvision:"):
        name, _, root = spec.removeprefix("torchvision:").partition("@")
        return TorchvisionSource(name, str(Path(root or "data/torchvision").absolute()), download=not root)
    if is_remote(spec):
        if not spec.endswith(LIST_SUFFIXES):
            raise ConfigError(f"data.source is {spec}; of addresses only lists ({', '.join(LIST_SUFFIXES)}) are read")
        return ListSource(spec, storage)
    path = Path(spec).absolute()
    if path.is_dir():
        return FolderSource(str(path))
    if not path.is_file():
        raise ConfigError(f"data.source is {spec!r}, which does not exist; give {KINDS}")
    return ListSource(str(path), storage) if path.suffix in LIST_SUFFIXES else TarSource(str(path))


@dataclass(frozen=True)
class FolderSource:
    """Files [train|val|test/]CLASS/.../NAME below a folder."""

    path: str

    def parts(self) -> Parts:
        return _by_folder((name, None) for name in sorted(self._names()))

    def _names(self) -> Iterator[str]:
        for folder, folders, files in os.walk(self.path, onerror=_refuse, followlinks=True):
            folders[:] = [name for name in folders if not _leads_back(Path(folder, name))]
            inside = folder[len(self.path) :].strip("/")
            yield from (f"{inside}/{name}" if inside else name for name in files)

    def read(self, item: Item) -> bytes:
        return Path(self.path, item.name).read_bytes()

    def stamp(self, item: Item) -> str:
        return file_stamp(Path(self.path, item.name))


def _refuse(error: OSError) -> NoReturn:
    raise ConfigError(f"data.source: {error.filename} cannot be listed ({error.strerror}); mend its access rights")


def _leads_back(folder: Path) -> bool:
    """Whether it is a link to a folder that it lies in: an endless walk."""
    return folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve())


@dataclass(frozen=True)
class TarSource:
    """The same as members of an uncompressed tar, read straight from their place in it."""

    path: str

    def parts(self) -> Parts:
        return _by_folder(sorted(self._members()))

    def _members(self) -> Iterator[tuple[str, tuple[int, int]]]:
        """(name, (offset, bytes))"""
        try:
            with tarfile.open(self.path) as tar:
                if not isinstance(tar.fileobj, io.BufferedReader):
                    raise ConfigError(
                        f"data.source {self.path} is compressed, which allows no random access; decompress it first"
                    )
                while (member := tar.next()) is not None:
                    tar.members = []  # pyright: ignore[reportAttributeAccessIssue]  # it would keep a kilobyte of each
                    if member.isfile() and not member.issparse():
                        yield member.name.removeprefix("./"), (member.offset_data, member.size)
        except (tarfile.TarError, OSError) as error:
            reason = " ".join(str(error).split())  # tarfile's takes several lines
            raise ConfigError(
                f"data.source {self.path} is no tar ({reason}); give a folder or a tar of class folders"
            ) from error

    def read(self, item: Item) -> bytes:
        offset, size = item.where
        with open(self.path, "rb") as file:
            file.seek(offset)
            return file.read(size)

    def stamp(self, item: Item) -> str:
        return file_stamp(Path(self.path))


def _by_folder(files: Iterable[tuple[str, Any]]) -> Parts:
    """Paths [split/]class/.../name, and where each is, to items."""
    parts: Parts = defaultdict(list)
    passed_over: list[str] = []
    for name, where in files:
        *folders, base = name.split("/")
        if not base.lower().endswith(SUFFIXES) or not folders:
            passed_over += [] if base.startswith(".") else [name]
            continue
        split = SPLIT_NAMES.get(folders[0].lower()) if len(folders) > 1 else None
        parts[split].append(Item(name, sys.intern(folders[1] if split else folders[0]), where))
    if not parts:
        raise ConfigError("the source has no images in class folders; expected [train|val|test/]CLASS/NAME.jpg")
    if None in parts and len(parts) > 1:
        raise ConfigError(
            f"the source mixes class folders with the parts {', '.join(str(p) for p in parts if p)}; use one"
        )
    if passed_over:
        say_once(
            f"{len(passed_over)} files are passed over, being no {', '.join(SUFFIXES)} in a class folder: "
            f"{', '.join(passed_over[:3])}{' ...' if len(passed_over) > 3 else ''}"
        )
    return dict(parts)


@functools.cache
def say_once(message: str) -> None:
    """The plan lists a source, and then so does the packing."""
    log.warning(message)


@dataclass(frozen=True)
class DigitsSource:
    """scikit-learn's 1,797 handwritten digits."""

    def parts(self) -> Parts:
        return {None: [Item(f"digit-{i:04d}", str(label), i) for i, label in enumerate(_digits().target)]}

    def read(self, item: Item) -> Image.Image:
        image = Image.fromarray((_digits().images[item.where] * (255 / 16)).round().astype(np.uint8))
        return image.resize((image.width * DIGITS_SCALE, image.height * DIGITS_SCALE), Image.Resampling.BICUBIC)

    def stamp(self, item: Item) -> str:
        return f"enlarged {DIGITS_SCALE}"


@functools.cache
def _digits() -> Any:
    from sklearn.datasets import load_digits

    return load_digits()


def source_name(spec: str | None) -> str | None:
    """What the index records of a source: the last part of a path, the others as they are."""
    return None if spec is None else spec if ":" in spec else Path(spec).name
