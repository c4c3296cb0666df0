"""What is wrong with class folders that are not laid out as expected, or with their labels: the usual causes.

In: the items of a source. Out: an error, or the remedy as part of one.
"""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from platform.config.checks import ConfigError
from platform.config.data import DataConfig
from platform.packing.foldernames import called_like_parts, is_annotations, is_images, part_like
from platform.packing.items import SPLIT_NAMES, Item, Parts, is_list
from platform.packing.parts import few

NAMED = 3  # labels in one line
PARTS = ("train", "val", "test")
IF_CLASSES = "if they are classes, list the images in a .csv with the columns path and label"


def refuse_misread(parts: Parts, folder: str | None = None) -> None:
    """Refuse folders that are almost certainly no classes, as they would be trained as classes.

    Args:
        parts: the items that were found as `[train|val|test/]CLASS/.../NAME`.
        folder: in which they were found; None: in a tar.

    Raises:
        ConfigError: names the folders, and what to do.
    """
    _refuse_undecodable(parts)
    refuse_flat(parts)
    _refuse_annotations(parts)
    loose = parts.get(None, [])
    inner = _inner_folders(loose)
    _refuse_unnamed_parts(inner, [str(part) for part in parts if part is not None])
    parted = [name for name, inside in inner.items() if _is_parted(inside)]
    if len(parts) == 1 and parted and len(parted) == len(inner):
        raise ConfigError(f"{_parts_within(parted, inner, {name: name for name in parted}, folder)}; {IF_CLASSES}")


def _refuse_undecodable(parts: Parts) -> None:
    """Refuse class names that are not UTF-8, as in old archives: an index is UTF-8."""
    for label in {item.label for items in parts.values() for item in items}:
        try:
            label.encode()
        except UnicodeEncodeError:
            raise ConfigError(f"the class folder {label!a} has a name that is no UTF-8; rename it") from None


def _inner_folders(items: Iterable[Item]) -> dict[str, Counter[str]]:
    """Class folder -> folder in it ("" is itself) -> number of images."""
    inner: dict[str, Counter[str]] = defaultdict(Counter)
    for item in items:
        inner[item.label][item.name.split("/")[1] if item.name.count("/") > 1 else ""] += 1
    return inner


def _refuse_annotations(parts: Parts) -> None:
    """Refuse `images/` beside `masks/`: annotations are no class."""
    labels = {item.label for items in parts.values() for item in items}
    images, annotations = [n for n in labels if is_images(n)], [n for n in labels if is_annotations(n)]
    if images and annotations and len(labels) == len(images) + len(annotations):
        raise ConfigError(
            f"the folders {few(labels)} hold images and what belongs to them (masks, boxes), it seems, and no classes; "
            f"sort the images into class folders, or list them in a .csv with the columns path and label"
        )


def _refuse_unnamed_parts(inner: dict[str, Counter[str]], known: list[str]) -> None:
    """Refuse `training/` and `testing/`, or `dev/` beside `train/`: parts whose names are not recognised as parts."""
    alike = called_like_parts([*inner, *known])
    like = [name for name in alike if name in inner]
    shared = set.intersection(*(set(inner[name]) for name in like)) - {""} if like else set[str]()
    if not like or not (known or len(like) == len(inner)):
        return
    both = f" ({'each' if len(like) > 1 else 'it'} holds {few(shared)})" if shared else ""
    raise ConfigError(
        f"the folders {few(like)}{both} are parts, it seems, and no classes; name them {', '.join(PARTS)}, each with "
        f"its CLASS folders; {IF_CLASSES}"
    )


def _is_parted(inside: Counter[str]) -> bool:
    """Whether all images of a class folder are in parts, e.g. `CLASS/train` and `CLASS/test`."""
    folders = [name for name in inside if not is_annotations(name)]
    return len(folders) > 1 and len(called_like_parts(folders)) == len(folders)


def refuse_flat(parts: Parts) -> None:
    """Refuse images directly in `val/`, as ImageNet is distributed: their classes are in another file.

    Raises:
        ConfigError: names the folder and an image.
    """
    loose = parts.get(None, [])
    flat = Counter(item.label for item in loose if item.label.lower() in SPLIT_NAMES)
    if not flat or (len(parts) == 1 and (len(flat) < 2 or flat.total() < len(loose))):
        return  # `control` and `test` may be classes
    folder, count = flat.most_common(1)[0]
    example = next(item.name for item in loose if item.label == folder)
    raise ConfigError(
        f"{count} image(s) lie directly in {folder}/, in no class folder, e.g. {example}; sort them into "
        f"{folder}/CLASS/ (of ImageNet's val: by the ground truth that comes with it), list them in a .csv with the "
        "columns path, label and split, or move them away if they have no labels"
    )


def cause(names: list[str], items: Iterable[Item], data: DataConfig) -> str:
    """The likely cause of a number of classes that is not `data.classes`, and what to do about it."""
    set_it = f"set it to {len(names)}"
    if not is_list(data.source or "") and (deeper := _deeper(names, items, data)):  # a list says what the classes are
        return deeper
    if like := called_like_parts(names):
        return f"{set_it}, or, if {few(like)} are parts, name them {', '.join(PARTS)}"
    if len(names) == 1:
        return f"{set_it}, or, if {names[0]!r} is a folder around the class folders, give that folder as data.source"
    stray = sorted(name for name in names if " ".join(name.split()) != name)
    if stray:
        return f"{set_it}, or take the stray blanks out of the labels {_some(map(repr, stray))}"
    alike = _alike(names)
    if alike:
        return f"{set_it}, or make one of the labels that differ in capitals or accents only: {_some(alike)}"
    return set_it


def _deeper(names: list[str], items: Iterable[Item], data: DataConfig) -> str | None:
    """What is wrong if class folders or parts lie one folder deeper than expected; None: they do not."""
    below: dict[str, set[str]] = defaultdict(set)  # folder that is taken for a class -> the folders in it
    where: dict[str, str] = {}
    for item in items:
        *folders, _ = item.name.split("/")
        inside = folders[folders.index(item.label) + 1 :] if item.label in folders[:2] else []
        if inside:
            below[item.label].add(inside[0])
            where.setdefault(item.label, "/".join(folders[: len(folders) - len(inside)]))
    parted = [name for name, inner in below.items() if any(folder.lower() in SPLIT_NAMES for folder in inner)]
    if parted:
        return _parts_within(parted, below, where, data.source)
    if len(names) > 1 or len(below[names[0]]) < 2:
        return None
    return _one_deeper("classes", names[0], below[names[0]], where, data.source)


def _parts_within(
    parted: list[str], below: Mapping[str, Iterable[str]], where: Mapping[str, str], source: str | None
) -> str:
    """What is wrong with folders that hold parts: of many classes each, or one folder around the parts."""
    if len(parted) > 1:
        return f"the parts lie within the classes ({few(parted)}): lay them out as [train|val|test/]CLASS/NAME.jpg"
    return _one_deeper("parts", parted[0], [name for name in below[parted[0]] if part_like(name)], where, source)


def _one_deeper(what: str, wrapper: str, inner: Iterable[str], where: Mapping[str, str], source: str | None) -> str:
    remedy = "move them up by one folder"
    if where[wrapper] == wrapper and source and Path(source).is_dir():
        remedy = f"give data.source={Path(source, wrapper)}"
    return f"the {what} ({few(inner)}) lie one folder deeper, in {where[wrapper]}: {remedy}"


def _alike(names: list[str]) -> list[str]:
    """Groups of labels that differ in capitals or accents only (macOS writes accents as separate characters)."""
    same: dict[str, list[str]] = defaultdict(list)
    for name in names:
        same[unicodedata.normalize("NFC", name).casefold()].append(name)
    return [" and ".join(map(repr, found[:NAMED])) for found in same.values() if len(found) > 1]


def _some(texts: Iterable[str]) -> str:
    listed = list(texts)
    return f"{', '.join(listed[:NAMED])}{' ...' if len(listed) > NAMED else ''}"
