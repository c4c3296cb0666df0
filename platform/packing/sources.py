"""What can be packed: folders and tars of class folders, lists in CSV or Parquet, data sets of torchvision, the digits.

In: `data.source`. Out: its items, listed without reading an image, and the bytes of each. Sources and items are small
and picklable, so that any process can read its share. Nothing in a source is executed.
"""

import functools
import gzip
import importlib.util
import io
import mmap
import os
import re
import sys
import tarfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from platform.config.checks import ConfigError
from platform.config.data import StorageConfig
from platform.data.tar import CIRCULAR, TOOL_MADE, LeftOut, Place, members_of, what_is_wrong
from platform.data.toolmade import is_tool_made
from platform.data.urls import is_remote
from platform.packing.datasets import TorchvisionSource
from platform.packing.items import LIST_SUFFIXES, SPLIT_NAMES, Item, Parts, file_stamp, is_list, read_file, say_once
from platform.packing.layout import refuse_misread
from platform.packing.parts import few

SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm",
)  # fmt: skip
KINDS = "a folder, a tar, a .csv, .tsv or .parquet list, torchvision:NAME or sklearn:digits"
ARCHIVES = (".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".zip", ".7z", ".rar")
EMPTY = "empty folders"
DIGITS = "sklearn:digits"
DIGITS_SCALE = 4  # by which the digits' 8x8 px are enlarged, for random crops to differ

_ROOT = re.compile(r"^(?:\.\.(?:/|$)|/)+")  # at the start of a member's absolute path; tar removes it, too


class Source(Protocol):
    """Images with labels."""

    def parts(self) -> Parts:
        """Every item, in an order that depends on the source alone.

        Raises:
            ConfigError: there are none, or the source is not laid out as expected.
        """
        ...

    def read(self, item: Item) -> bytes | Image.Image:
        """One image, encoded or decoded.

        Raises:
            OSError: it cannot be read.
        """
        ...

    def stamp(self, item: Item) -> str:
        """A text that changes when the item's bytes do, as far as can be told without reading them."""
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
        if not is_list(spec):
            raise ConfigError(f"data.source is {spec}; of addresses only lists ({', '.join(LIST_SUFFIXES)}) are read")
        return _list(spec, storage)
    path = Path(spec).absolute()
    if path.is_dir():
        return FolderSource(str(path))
    if not path.is_file():
        raise ConfigError(f"data.source is {spec!r}, which does not exist; give {KINDS}")
    return _list(str(path), storage) if is_list(str(path)) else TarSource(str(path))


def _list(path: str, storage: StorageConfig) -> Source:
    from platform.packing.lists import ListSource  # imports pyarrow, which takes a second

    return ListSource(path, storage)


@dataclass(frozen=True)
class FolderSource:
    """Files [train|val|test/]CLASS/.../NAME below a folder."""

    path: str

    def parts(self) -> Parts:
        left_out = LeftOut()
        return _by_folder(((name, None) for name in sorted(self._names(left_out))), left_out, self.path)

    def _names(self, left_out: LeftOut) -> Iterator[str]:
        closed: list[str] = []
        for folder, folders, files in os.walk(self.path, onerror=partial(self._refuse, closed), followlinks=True):
            for name in folders.copy():
                path = Path(folder, name)
                if path.is_symlink() and self._leads_back(path):
                    folders.remove(name)
                    left_out.add(CIRCULAR, f"{self._inside(str(path))} -> {path.readlink()}")
            inside = self._inside(folder)
            if inside and not (folders or files or is_tool_made(inside + "/")):
                left_out.add(EMPTY, inside)
            yield from (f"{inside}/{name}" if inside else name for name in files)
        yield from closed

    def _leads_back(self, link: Path) -> bool:
        """Whether a link leads to a folder that it is in, which would be walked without end."""
        target = link.resolve()
        walked = (folder for folder in link.parents if folder.is_relative_to(self.path))
        return any(folder.resolve().is_relative_to(target) for folder in walked)

    def _inside(self, path: str) -> str:
        return path[len(self.path) :].strip("/")

    def _refuse(self, closed: list[str], error: OSError) -> None:
        """Refuse a folder that cannot be listed, unless tools made it, such as `lost+found`."""
        inside = self._inside(os.fsdecode(error.filename)) + "/"
        if not is_tool_made(inside):
            raise ConfigError(
                f"data.source: {error.filename} cannot be listed ({error.strerror}); mend its access rights"
            )
        closed.append(inside)

    def read(self, item: Item) -> bytes:
        return read_file(Path(self.path, item.name))

    def stamp(self, item: Item) -> str:
        return file_stamp(Path(self.path, item.name))


@dataclass(frozen=True)
class TarSource:
    """Members [train|val|test/]CLASS/.../NAME of an uncompressed tar, read from their place in it."""

    path: str

    def parts(self) -> Parts:
        left_out = LeftOut()
        named = ((_ROOT.sub("", name), place) for name, place in self._members(left_out).items())
        return _by_folder(sorted(named), left_out)

    def _members(self, left_out: LeftOut) -> dict[str, Place]:
        """Name -> (offset, bytes). Links are followed, and of members with one name the last one counts."""
        try:
            with tarfile.open(self.path) as tar:
                if not isinstance(tar.fileobj, io.BufferedReader):
                    raise ConfigError(
                        f"data.source {self.path} is compressed, which allows no random access; decompress it first"
                    )
            with open(self.path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return members_of(content, left_out)
        except (tarfile.TarError, OSError, ValueError) as error:
            if isinstance(error, ConfigError):
                raise
            lists = f"or a list of which the name ends in {', '.join(LIST_SUFFIXES)}"
            wrong = what_is_wrong(error, f"copy it again, or give a folder or a tar of class folders, {lists}")
            raise ConfigError(
                f"data.source {self.path} {' '.join(wrong.split())}"  # tarfile's message has several lines
            ) from error

    def read(self, item: Item) -> bytes:
        offset, size = item.where
        with open(self.path, "rb") as file:
            file.seek(offset)
            return file.read(size)

    def stamp(self, item: Item) -> str:
        return file_stamp(Path(self.path))


def _by_folder(files: Iterable[tuple[str, Any]], left_out: LeftOut, folder: str | None = None) -> Parts:
    """Items from paths [split/]class/.../name and where each is. Other files are counted in a warning."""
    parts: Parts = defaultdict(list)
    passed_over: list[str] = []
    written: dict[str, set[str]] = defaultdict(set)  # part -> what its folders are called
    for name, where in files:
        if is_tool_made(name):
            left_out.add(TOOL_MADE, name)
            continue
        *folders, base = name.split("/")
        if not base.lower().endswith(SUFFIXES) or not folders:
            passed_over.append(name)
            continue
        split = SPLIT_NAMES.get(folders[0].lower()) if len(folders) > 1 else None
        parts[split].append(Item(name, sys.intern(folders[1] if split else folders[0]), where))
        if split:
            written[split].add(folders[0])
    if not parts:
        raise ConfigError(f"the source has no images in class folders; {_instead(passed_over)}")
    refuse_misread(parts, folder)
    if None in parts and len(parts) > 1:
        named = ", ".join(f"{part}/" for part in parts if part)
        classes = sorted({item.label for item in parts[None]})
        raise ConfigError(
            f"the source has {named} beside the class folders {few(classes)}: move these into train/, or, if {named} "
            "holds no part, take it away"
        )
    _say_what_became(written, left_out, passed_over)
    return dict(parts)


def _say_what_became(written: dict[str, set[str]], left_out: LeftOut, passed_over: list[str]) -> None:
    """Warn of parts that have several folders, and of files that are no images."""
    for part, names in written.items():
        if len(names) > 1:
            say_once(f"the folders {', '.join(sorted(names))} are read as one part, {part}")
    for line in left_out.lines():
        say_once(f"passed over in the source: {line}")
    if passed_over:
        say_once(
            f"{len(passed_over)} files are passed over, being no {', '.join(SUFFIXES)} in a class folder: "
            f"{', '.join(passed_over[:3])}{' ...' if len(passed_over) > 3 else ''}"
        )


def _instead(passed_over: list[str]) -> str:
    """What was found in the place of images, and what to do about it."""
    expected = "expected [train|val|test/]CLASS/NAME.jpg"
    if not passed_over:
        return expected
    archive = next((name for name in passed_over if name.lower().endswith(ARCHIVES)), None)
    windows = next((name for name in passed_over if "\\" in name), None)
    if archive:
        remedy = ", an archive: unpack those, each into the folder of its class"
    else:
        remedy = ", with backslashes: unpack it by a program that takes them for folders" if windows else ""
    return f"{expected}, found {len(passed_over)} other files, e.g. {archive or windows or passed_over[0]}{remedy}"


@dataclass(frozen=True)
class DigitsSource:
    """scikit-learn's 1,797 handwritten digits."""

    def parts(self) -> Parts:
        return {None: [Item(f"digit-{i:04d}", str(label), i) for i, label in enumerate(_digits()[1])]}

    def read(self, item: Item) -> Image.Image:
        image = Image.fromarray((_digits()[0][item.where] * (255 / 16)).round().astype(np.uint8))
        return image.resize((image.width * DIGITS_SCALE, image.height * DIGITS_SCALE), Image.Resampling.BICUBIC)

    def stamp(self, item: Item) -> str:
        return f"enlarged {DIGITS_SCALE}"


@functools.cache
def _digits() -> tuple[NDArray[np.float64], list[int]]:
    """(images `[1797, 8, 8]`, 0 to 16; the digit of each). Read from scikit-learn's file without importing it, which
    takes a second."""
    found = importlib.util.find_spec("sklearn")
    assert found is not None
    assert found.origin is not None
    with gzip.open(Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz", "rt") as file:
        rows = np.loadtxt(file, delimiter=",")
    return rows[:, :-1].reshape(-1, 8, 8), rows[:, -1].astype(int).tolist()


def source_name(spec: str | None) -> str | None:
    """The name of a source in an index: the last part of a path; other sources as they are."""
    return None if spec is None else spec if ":" in spec else Path(spec).name
