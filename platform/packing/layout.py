"""What is wrong with class folders that are not laid out as expected, or with their labels: the usual causes, by name.

In: the items of a source. Out: an error or half a line with the remedy.
"""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from platform.config import ConfigError, DataConfig
from platform.packing.items import SPLIT_NAMES, Item, Parts
from platform.packing.lists import is_list
from platform.packing.parts import few

NAMED = 3  # labels in one line


def refuse_flat(parts: Parts) -> None:
    """Refuse images directly in `val/`, as ImageNet comes: which classes they are of is in another file.

    Raises:
        ConfigError: there are such.
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
    """What another number of classes than `data.classes` comes from, as a rule, and what to do."""
    set_it = f"set it to {len(names)}"
    if not is_list(data.source or "") and (deeper := _deeper(names, items, data)):  # a list says what the classes are
        return deeper
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
    """Whether class folders or parts lie one folder deeper than they are looked for."""
    below: dict[str, set[str]] = defaultdict(set)  # folder that is taken for a class -> the folders in it
    where: dict[str, str] = {}
    for item in items:
        *folders, _ = item.name.split("/")
        inside = folders[folders.index(item.label) + 1 :] if item.label in folders[:2] else []
        if inside:
            below[item.label].add(inside[0])
            where.setdefault(item.label, "/".join(folders[: len(folders) - len(inside)]))
    parted = [name for name, inner in below.items() if any(folder.lower() in SPLIT_NAMES for folder in inner)]
    if len(parted) > 1:
        return f"the parts lie within the classes ({few(parted)}): lay them out as [train|val|test/]CLASS/NAME.jpg"
    wrapper = parted[0] if parted else names[0]
    inner = [folder for folder in below[wrapper] if not parted or folder.lower() in SPLIT_NAMES]
    if not parted and (len(names) > 1 or len(inner) < 2):
        return None
    remedy = "move them up by one folder"
    if where[wrapper] == wrapper and data.source and Path(data.source).is_dir():
        remedy = f"give data.source={Path(data.source, wrapper)}"
    return f"the {'parts' if parted else 'classes'} ({few(inner)}) lie one folder deeper, in {where[wrapper]}: {remedy}"


def _alike(names: list[str]) -> list[str]:
    """Labels that hardly differ, side by side: macOS writes accents as characters of their own."""
    same: dict[str, list[str]] = defaultdict(list)
    for name in names:
        same[unicodedata.normalize("NFC", name).casefold()].append(name)
    return [" and ".join(map(repr, found[:NAMED])) for found in same.values() if len(found) > 1]


def _some(texts: Iterable[str]) -> str:
    listed = list(texts)
    return f"{', '.join(listed[:NAMED])}{' ...' if len(listed) > NAMED else ''}"
