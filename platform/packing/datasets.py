"""Data sets of torchvision as a source, with their own parts, class numbers and decoding.

Some tell their parts apart by `train=True` and `train=False`, others by `split="train"` (or "trainval" and the like),
"val" (or "valid") and "test", and a few have no parts.
"""

import functools
import inspect
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from platform.config.checks import ConfigError
from platform.packing.items import SPLIT_NAMES, Item, Parts, say_once
from platform.text import first_line

UNKNOWN_SPLIT = "Unknown value"  # how torchvision's error begins
WITHOUT_PARTS = ("Caltech101", "Caltech256", "EuroSAT", "SEMEION", "SUN397")
WHOLE = "all"  # the name of their only part here
LABELS = ("targets", "labels", "_labels", "y")  # attributes with the label of each image
NAMES = ("classes", "categories")  # attributes with the names of the classes


@dataclass(frozen=True)
class TorchvisionSource:
    """A data set of torchvision.datasets, decoded by its own code."""

    name: str
    root: str
    download: bool = False  # into `root`, when the data set is listed

    def parts(self) -> Parts:
        classes = self.classes()
        return {
            part: [Item(f"{tag}-{i:08d}", classes[number], (tag, i)) for i, number in enumerate(self._numbers(tag))]
            for part, tag in self._tags().items()
        }

    def classes(self) -> list[str]:
        """Class names in the order of the data set's own class numbers. Equal names get their number appended.

        Raises:
            ConfigError: the data set cannot be loaded, or has no class for each image.
        """
        tags = self._tags()
        dataset = self._part(next(iter(tags.values())))
        names = next((getattr(dataset, name) for name in NAMES if hasattr(dataset, name)), None)
        if names is None:
            return [str(number) for number in range(1 + max(max(self._numbers(tag)) for tag in tags.values()))]
        names = [", ".join(map(str, name)) if isinstance(name, tuple) else str(name) for name in names]
        times = Counter(names)
        return [f"{name} ({number})" if times[name] > 1 else name for number, name in enumerate(names)]

    def read(self, item: Item) -> Image.Image:
        tag, number = item.where
        found = self._part(tag)[number]
        if len(found) != 2:  # LFWPairs
            raise self._no_classes()
        return found[0]

    def stamp(self, item: Item) -> str:
        return self.name  # torchvision itself compares the checksum of what it loads

    def _tags(self) -> dict[str | None, str]:
        """Part -> its name in the data set, training first."""
        import torchvision.datasets

        if not hasattr(torchvision.datasets, self.name):
            raise ConfigError(
                f"data.source is torchvision:{self.name}, which torchvision.datasets does not have; check the name"
            )
        if self.name in WITHOUT_PARTS:
            return {None: WHOLE}
        arguments = _arguments(self.name)
        if "train" in arguments:
            return {"train": "train", "test": "val"}  # "val" is in the names of items, on which shards depend
        if "split" not in arguments:
            raise self._cannot_be_had("it has no parts for training and validation")
        usual = arguments["split"].default  # "trainval" of some, which have no "train"
        found: dict[str | None, str] = {part: tag for tag, part in SPLIT_NAMES.items() if self._part(tag) is not None}
        if "train" not in found and str(usual).startswith("train"):
            found = {"train": usual, **found}
        if not found:  # EMNIST's splits are something else
            raise self._cannot_be_had(f"it has no split {', '.join(SPLIT_NAMES)}")
        labelled = {part: tag for part, tag in found.items() if any(n is not None for n in self._labels(tag))}
        for part in found.keys() - labelled.keys():
            say_once(f"the {part} part of torchvision:{self.name} has no labels and is left out")
        return {None: labelled["train"]} if list(labelled) == ["train"] else labelled

    def _part(self, tag: str) -> Any:
        """A part of the data set, loaded; None: it has no such part."""
        try:
            return _load(self.name, self.root, tag, self.download)
        except (OSError, RuntimeError, TypeError, ValueError) as error:  # no network, no files in ROOT, no such parts
            raise self._cannot_be_had(first_line(error)) from error

    def _cannot_be_had(self, why: str) -> ConfigError:
        return ConfigError(
            f"data.source torchvision:{self.name} cannot be had ({why}); give a folder or tar of class folders, or "
            "torchvision:NAME@ROOT of a downloaded one with train and test parts"
        )

    def _labels(self, tag: str) -> Sequence[Any]:
        """The label of each image.

        Raises:
            ConfigError: the data set has no labels.
        """
        dataset = self._part(tag)
        found = next((getattr(dataset, name) for name in LABELS if hasattr(dataset, name)), None)
        if found is None and hasattr(dataset, "_samples"):
            found = [sample[1] for sample in dataset._samples]
        if found is None:
            raise self._no_classes()
        return found

    def _numbers(self, tag: str) -> list[int]:
        """The class of each image."""
        try:
            return [int(number) for number in self._labels(tag)]
        except (TypeError, ValueError) as error:
            raise self._no_classes() from error

    def _no_classes(self) -> ConfigError:
        return ConfigError(
            f"data.source torchvision:{self.name} does not tell one class for each of its images; give a folder or tar "
            "of class folders, or list the images in a .csv with the columns path and label"
        )


def _arguments(name: str) -> Mapping[str, inspect.Parameter]:
    import torchvision.datasets

    return inspect.signature(getattr(torchvision.datasets, name)).parameters


def _downloads(name: str) -> bool:
    """Whether torchvision can download the data set. Some pass the argument on to a base class."""
    import torchvision.datasets

    made_of = getattr(torchvision.datasets, name).__mro__
    return any("download" in inspect.signature(kind.__init__).parameters for kind in made_of)


@functools.cache
def _load(name: str, root: str, tag: str, download: bool) -> Any:
    """A part of a data set, loaded once in a process; None: it has no such part.

    Raises:
        RuntimeError: torchvision cannot download it.
        Exception: any error of torchvision.
    """
    import torchvision.datasets

    which = {} if tag == WHOLE else {"train": tag == "train"} if "train" in _arguments(name) else {"split": tag}
    if download and not _downloads(name):
        raise RuntimeError(f"torchvision does not download it; give torchvision:{name}@ROOT, where it lies")
    try:
        return getattr(torchvision.datasets, name)(root, **which, **({"download": True} if download else {}))
    except ValueError as error:
        if str(error).startswith(UNKNOWN_SPLIT):
            return None
        raise
