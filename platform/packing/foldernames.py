"""Common names of folders that are no classes: parts of a data set; images beside their annotations.

In: the name of a folder or shard. Out: which part it seems to be, or whether it holds images or annotations.
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
    """(part, other words) of a folder's name: `seg_training` is ("train", ("seg",)); None: it names no part."""
    words = _WORD.findall(name.lower())
    parts = [PART_WORDS[word] for word in words if word in PART_WORDS]
    rest = tuple(word for word in words if word not in PART_WORDS and word not in FILLING)
    return (parts[0], rest) if len(parts) == 1 else None


def called_like_parts(names: Iterable[str]) -> list[str]:
    """The names that differ only in the part they name, training among them; empty if there are no such."""
    alike: dict[tuple[str, ...], dict[str, str]] = defaultdict(dict)  # other words -> name -> part
    for name in names:
        if part := part_like(name):
            alike[part[1]][name] = part[0]
    kinds_of = (set(of_names.values()) for of_names in alike.values())
    found = zip(alike.values(), kinds_of, strict=True)
    return next((list(of_names) for of_names, kinds in found if "train" in kinds and len(kinds) > 1), [])


def shards_like_parts(paths: Iterable[str]) -> dict[str, list[str]]:
    """Part -> shards whose paths name it, as `training/000.tar` does; empty unless training and another part are named.

    Shards that name no part count as training ones if others differ from them only in naming another part.
    """
    found: dict[str, list[str]] = defaultdict(list)
    silent: dict[tuple[str, ...], list[str]] = defaultdict(list)  # words in the path -> shards
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
    """Whether a folder of this name seems to hold the images that others annotate."""
    return _one_word(name) in IMAGES


def is_annotations(name: str) -> bool:
    """Whether a folder of this name seems to hold annotations of images."""
    return _one_word(name) in ANNOTATIONS


def _one_word(name: str) -> str:
    return "".join(_WORD.findall(name.lower()))
