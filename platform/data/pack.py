"""Images of any source into WebDataset shards and their index: same input and settings, same bytes.

Sources: a folder of class folders, a tar of them, `torchvision:NAME`, or `sklearn:digits`. Parts called train and
val (or test) are kept; a source without parts is divided, class by class. JPEG bytes are packed as they are.
"""

import hashlib
import io
import json
import shutil
import tarfile
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from platform.config import ConfigError, DataConfig, first_line
from platform.data import draws
from platform.data.index import INDEX_NAME, Index, read_index

SPLIT_FOLDERS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "val"}
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm", ".gif", ".tif", ".tiff")
KEPT_FORMATS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}  # packed as they are
DIGITS_SCALE = 4  # the digits' 8x8 px, enlarged so that a crop has pixels to choose from


@dataclass(frozen=True)
class Item:
    """One image of a source, its bytes not read yet."""

    name: str
    label: str  # class name
    read: Callable[[], bytes | Image.Image]


@dataclass
class PackReport:
    """What became of a source."""

    samples: dict[str, int]
    unreadable: list[str]


def pack(data: DataConfig, seed: int = 0, progress: Callable[[int, int], None] | None = None) -> PackReport:
    """Write `data.source` as shards and index into `data.shards`. The index comes last: without it, nothing counts.

    Raises:
        ConfigError: an unknown or empty source, other classes than `data.classes`, too many unreadable images.
    """
    if data.source is None:
        raise ConfigError("data.source is not set; give a folder, a tar, torchvision:NAME or sklearn:digits")
    splits = divide(source(data.source), data.val_fraction, seed)
    names = class_names(splits, data)
    labels = {name: label for label, name in enumerate(names)}
    folder = Path(data.shards)
    _check_target(folder)
    unfinished = folder.with_name(f"{folder.name}.packing-{uuid.uuid4().hex[:8]}")
    unfinished.mkdir(parents=True)
    try:
        report, entries = PackReport({}, []), []
        total = sum(len(items) for items in splits.values())
        for split, items in splits.items():
            shuffled = [
                items[i] for i in np.random.Generator(np.random.Philox(draws.key(seed))).permutation(len(items))
            ]
            samples = _encoded(shuffled, labels, data, report, lambda: progress and progress(_done(report), total))
            entries += _write_shards(samples, unfinished, split, data.samples_per_shard, report)
        _write_index(unfinished, entries, names, data, seed)
        _put_in_place(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return report


def source(spec: str) -> dict[str | None, list[Item]]:
    """The images of a source by split; the key None holds those of a source without splits."""
    if spec == "sklearn:digits":
        return {None: _digits()}
    if spec.startswith("torchvision:"):
        return _torchvision(spec.removeprefix("torchvision:"))
    path = Path(spec)
    if path.is_dir():
        return _by_folder(
            (p.relative_to(path).as_posix(), p.read_bytes) for p in sorted(path.rglob("*")) if p.is_file()
        )
    if path.is_file():
        return _by_folder(_tar_members(path))
    raise ConfigError(
        f"data.source is {spec!r}, which does not exist; give a folder, a tar, torchvision:NAME or sklearn:digits"
    )


def class_names(splits: dict[str, list[Item]], data: DataConfig) -> list[str]:
    """The classes in the order of their labels.

    Raises:
        ConfigError: there are not `data.classes` of them.
    """
    names = sorted({item.label for items in splits.values() for item in items}, key=_natural)
    if len(names) != data.classes:
        raise ConfigError(f"{data.source} has {len(names)} classes, data.classes is {data.classes}; set it to that")
    return names


def source_name(spec: str | None) -> str | None:
    """What the index records of a source: the last part of a path, the others as they are."""
    return None if spec is None else spec if ":" in spec else Path(spec).name


def divide(parts: dict[str | None, list[Item]], val_fraction: float, seed: int) -> dict[str, list[Item]]:
    """train and val of a source: its own, or every class cut in the same proportion."""
    if None not in parts:
        missing = {"train", "val"} - parts.keys()
        if missing:
            raise ConfigError(
                f"the source has no {missing.pop()} part, only {', '.join(map(str, parts))}; add the folder"
            )
        return {"train": parts["train"], "val": parts["val"]}
    by_class: dict[str, list[Item]] = defaultdict(list)
    for item in parts[None]:
        by_class[item.label].append(item)
    train, val = [], []
    for label in sorted(by_class, key=_natural):
        items = by_class[label]
        order = np.random.Generator(np.random.Philox(draws.key(seed, 1))).permutation(len(items))
        held_out = round(len(items) * val_fraction)
        val += [items[i] for i in order[:held_out]]
        train += [items[i] for i in order[held_out:]]
    return {"train": train, "val": val}


def _by_folder(files: Iterable[tuple[str, Callable[[], bytes]]]) -> dict[str | None, list[Item]]:
    """Paths [split/]class/.../name to items."""
    parts: dict[str | None, list[Item]] = defaultdict(list)
    for name, read in files:
        folders = list(PurePosixPath(name).parts[:-1])
        if not name.lower().endswith(SUFFIXES) or not folders:
            continue
        split = SPLIT_FOLDERS.get(folders[0].lower()) if len(folders) > 1 else None
        parts[split].append(Item(name, folders[1] if split else folders[0], read))
    if not parts:
        raise ConfigError("the source has no images in class folders; expected [train|val/]CLASS/NAME.jpg")
    if None in parts and len(parts) > 1:
        raise ConfigError(
            f"the source mixes class folders with the parts {', '.join(str(p) for p in parts if p)}; use one"
        )
    return dict(parts)


def _tar_members(path: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Members of a tar, compressed or not, read when asked for; uncompressed ones straight from their offset."""
    try:
        with tarfile.open(path) as tar:
            members = [member for member in tar if member.isfile()]
            compressed = not isinstance(tar.fileobj, io.BufferedReader)
    except tarfile.TarError as error:
        reason = " ".join(str(error).split())  # tarfile's takes several lines
        raise ConfigError(
            f"data.source {path} is no tar ({reason}); give a folder or a tar of class folders"
        ) from error
    if compressed:
        raise ConfigError(f"data.source {path} is compressed, which allows no random access; decompress it first")
    for member in sorted(members, key=lambda member: member.name):
        name = member.name.removeprefix("./")
        yield name, lambda member=member: _read_at(path, member.offset_data, member.size)


def _read_at(path: Path, offset: int, size: int) -> bytes:
    with open(path, "rb") as file:
        file.seek(offset)
        return file.read(size)


def _digits() -> list[Item]:
    """scikit-learn's 1,797 handwritten digits."""
    from sklearn.datasets import load_digits

    digits: Any = load_digits()
    return [
        Item(f"digit-{i:04d}", str(label), lambda image=image: _digit_image(image))
        for i, (image, label) in enumerate(zip(digits.images, digits.target, strict=True))
    ]


def _digit_image(values: np.ndarray) -> Image.Image:
    image = Image.fromarray((values * (255 / 16)).round().astype(np.uint8))
    side = values.shape[0] * DIGITS_SCALE
    return image.resize((side, side), Image.Resampling.BICUBIC)


def _torchvision(spec: str) -> dict[str | None, list[Item]]:
    """`NAME` or `NAME@ROOT` of torchvision.datasets; downloads into ROOT (default data/torchvision) if need be."""
    import torchvision.datasets

    name, _, root = spec.partition("@")
    dataset_class = getattr(torchvision.datasets, name, None)
    if dataset_class is None:
        raise ConfigError(
            f"data.source is torchvision:{name}, which torchvision.datasets does not have; check the name"
        )
    parts: dict[str | None, list[Item]] = {}
    for split, is_train in (("train", True), ("val", False)):
        try:
            dataset = dataset_class(root or "data/torchvision", train=is_train, download=not root)
        except (OSError, RuntimeError, TypeError) as error:  # no network, no files in ROOT, no train/test parts
            raise ConfigError(
                f"data.source torchvision:{name} cannot be had ({first_line(error)}); give a folder or tar of class "
                "folders, or torchvision:NAME@ROOT of a downloaded one with train and test parts"
            ) from error
        classes = [str(c) for c in dataset.classes]
        labels = [int(label) for label in dataset.targets]
        parts[split] = [
            Item(f"{split}-{i:08d}", classes[label], lambda dataset=dataset, i=i: dataset[i][0])
            for i, label in enumerate(labels)
        ]
    return parts


@dataclass(frozen=True)
class _Encoded:
    extension: str
    image: bytes
    label: int


def _encoded(
    items: list[Item], labels: dict[str, int], data: DataConfig, report: PackReport, tick: Callable[[], object]
) -> Iterator[_Encoded]:
    """The items as stored bytes; unreadable ones are listed, and too many are an error."""
    for item in items:
        try:
            extension, image = _stored(item.read(), data.jpeg_quality)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # SyntaxError: a broken PNG
            report.unreadable.append(f"{item.name}: {error}")
            if len(report.unreadable) > data.max_corrupt:
                raise ConfigError(
                    f"{len(report.unreadable)} unreadable images, more than data.max_corrupt={data.max_corrupt}; "
                    f"the last: {report.unreadable[-1]}. Mend the source or raise the limit"
                ) from error
            continue
        tick()
        yield _Encoded(extension, image, labels[item.label])


def _stored(content: bytes | Image.Image, quality: int) -> tuple[str, bytes]:
    """(extension, bytes): as they are where the format can be kept, else as JPEG without chroma subsampling."""
    if isinstance(content, bytes):
        with Image.open(io.BytesIO(content)) as image:
            image.load()  # torn files fail here, not in training
            if image.format in KEPT_FORMATS:
                return KEPT_FORMATS[image.format], content
            content = image.convert("RGB")
    buffer = io.BytesIO()
    content = content if content.mode in ("L", "RGB") else content.convert("RGB")
    content.save(buffer, "JPEG", quality=quality, subsampling=0)
    return "jpg", buffer.getvalue()


def _write_shards(
    samples: Iterator[_Encoded], folder: Path, split: str, per_shard: int, report: PackReport
) -> list[dict[str, object]]:
    """Shards of `per_shard` samples, the last one shorter; returns their index entries."""
    entries: list[dict[str, object]] = []
    report.samples[split] = 0
    pending: list[_Encoded] = []
    for sample in samples:
        report.samples[split] += 1
        pending.append(sample)
        if len(pending) == per_shard:
            entries.append(_write_shard(folder, split, len(entries), pending, per_shard))
            pending = []
    if pending:
        entries.append(_write_shard(folder, split, len(entries), pending, per_shard))
    return entries


def _write_shard(folder: Path, split: str, number: int, samples: list[_Encoded], per_shard: int) -> dict[str, object]:
    path = folder / f"{split}-{number:06d}.tar"
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for place, sample in enumerate(samples):
            key = f"{number * per_shard + place:09d}"
            _add(tar, f"{key}.{sample.extension}", sample.image)
            _add(tar, f"{key}.cls", str(sample.label).encode())
    content = path.read_bytes()
    return {
        "url": path.name,
        "nsamples": len(samples),
        "filesize": len(content),
        "md5sum": hashlib.md5(content, usedforsecurity=False).hexdigest(),
        "split": split,
    }


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)  # owner, mode and time stay at their defaults: the bytes depend on the samples alone
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def _write_index(
    folder: Path, entries: list[dict[str, object]], classes: list[str], data: DataConfig, seed: int
) -> None:
    index = {
        "__kind__": "wids-shard-index-v1",
        "wids_version": 1,
        "name": data.name,
        "classes": classes,
        "packing": {
            "source": source_name(data.source),
            "seed": seed,
            "val_fraction": data.val_fraction,
            "jpeg_quality": data.jpeg_quality,
            **({"enlarged": DIGITS_SCALE} if data.source == "sklearn:digits" else {}),
        },
        "shardlist": entries,
    }
    (folder / INDEX_NAME).write_text(json.dumps(index, indent=1) + "\n")


def _check_target(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()) and not (folder / INDEX_NAME).exists():
        raise ConfigError(f"data.shards {folder} holds other files and no {INDEX_NAME}; choose an empty folder")


def _put_in_place(unfinished: Path, folder: Path) -> None:
    """Move the finished folder to its name; shards already there are replaced, index first."""
    if folder.exists():
        retired = folder.with_name(f"{folder.name}.replaced-{uuid.uuid4().hex[:8]}")
        folder.rename(retired)
        unfinished.rename(folder)
        shutil.rmtree(retired)
    else:
        unfinished.rename(folder)


def verify(folder: str | Path) -> Index:
    """Read the index and every shard's checksum.

    Raises:
        ShardError: from `read_index`.
        ConfigError: a shard whose content differs from its checksum.
    """
    index = read_index(folder)
    for split in index.splits.values():
        for shard in split.shards:
            digest = hashlib.md5(Path(shard.url).read_bytes(), usedforsecurity=False).hexdigest()
            if shard.md5 and digest != shard.md5:
                raise ConfigError(
                    f"shard {shard.url} has the checksum {digest}, its index says {shard.md5}; copy it again"
                )
    return index


def _done(report: PackReport) -> int:
    return sum(report.samples.values()) + len(report.unreadable)


def _natural(name: str) -> tuple[int, str]:
    """Sort "2" before "10" where class names are numbers."""
    return (int(name), name) if name.isdecimal() else (0, name)
