"""What folders of data sets are called that hold no class: parts, images beside what is drawn or written about them.

In: a folder's or shard's name. Out: which part it would be, or whether it is one of such a pair.
"""

import re
from collections import defaultdict
from collections.abc import Iterable

from platform.packing.items import SPLIT_NAMES

PART_WORDS = SPLIT_NAMES | {
    **dict.fromkeys(("training", "trainset", "trainingset", "trn", "trainval"), "train"),
    **dict.fromkeys(("valset", "validationset", "dev", "devset", "devel", "development", "eval", "evaluation"), "val"),
    **dict.fromkeys(("testing", "testset", "testingset", "tst", "holdout"), "test"),
}
FILLING = ("set", "split", "part", "data", "dataset", "image", "images", "img", "imgs")
IMAGES = ("image", "images", "img", "imgs", "jpegimages")
ANNOTATIONS = (
    "label", "labels", "mask", "masks", "annotation", "annotations", "annot", "gt", "groundtruth", "segmentation",
    "segmentations", "segmentationclass", "segmentationobject",
)  # fmt: skip

_WORD = re.compile(r"[^\W\d_]+|\d+")


def part_like(name: str) -> tuple[str, tuple[str, ...]] | None:
    """Which part a folder's name speaks of, and what else it says: `seg_training` is ("train", ("seg",))."""
    words = _WORD.findall(name.lower())
    parts = [PART_WORDS[word] for word in words if word in PART_WORDS]
    rest = tuple(word for word in words if word not in PART_WORDS and word not in FILLING)
    return (parts[0], rest) if len(parts) == 1 else None


def called_like_parts(names: Iterable[str]) -> list[str]:
    """Those that are called after parts of one data set: training and another one, otherwise alike."""
    alike: dict[tuple[str, ...], dict[str, str]] = defaultdict(dict)  # what else they say -> name -> part
    for name in names:
        if part := part_like(name):
            alike[part[1]][name] = part[0]
    kinds_of = (set(of_names.values()) for of_names in alike.values())
    found = zip(alike.values(), kinds_of, strict=True)
    return next((list(of_names) for of_names, kinds in found if "train" in kinds and len(kinds) > 1), [])


def shards_like_parts(paths: Iterable[str]) -> dict[str, list[str]]:
    """part -> the shards whose paths speak of it, as `training/000.tar` does; empty where not of training and another.

    Shards that say nothing are training ones, beside others that are held out and otherwise called alike.
    """
    found: dict[str, list[str]] = defaultdict(list)
    silent: dict[tuple[str, ...], list[str]] = defaultdict(list)  # what they say
    alike: set[tuple[str, ...]] = set()
    for path in paths:
        words = [word for word in _WORD.findall(path.lower().removesuffix(".tar")) if not word.isdecimal()]
        parts = [PART_WORDS[word] for word in words if word in PART_WORDS]
        rest = tuple(word for word in words if word not in PART_WORDS and word not in FILLING)
        if parts:
            found[parts[-1]].append(path)
            alike.add(rest)
        else:
            silent[rest].append(path)
    if "train" not in found and (others := [path for rest in alike for path in silent[rest]]):
        found["train"] = others
    return found if "train" in found and len(found) > 1 else {}


def is_images(name: str) -> bool:
    return _one_word(name) in IMAGES


def is_annotations(name: str) -> bool:
    return _one_word(name) in ANNOTATIONS


def _one_word(name: str) -> str:
    return "".join(_WORD.findall(name.lower()))
