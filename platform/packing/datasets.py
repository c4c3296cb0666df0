"""Data sets of torchvision as a source: their own parts, class numbers and decoding.

Some tell their parts apart by `train=True` and `train=False`, others by `split="train"`, "val" (or "valid") and "test".
"""

import functools
import inspect
from collections import Counter
from dataclasses import dataclass
from typing import Any

from PIL import Image

from platform.config import ConfigError, first_line
from platform.packing.items import SPLIT_NAMES, Item, Parts

UNKNOWN_SPLIT = "Unknown value"  # as torchvision's error begins
LABELS = ("targets", "labels", "_labels")  # one for each image; torchvision has no one name for them


@dataclass(frozen=True)
class TorchvisionSource:
    """A data set of torchvision.datasets, decoded by its own code."""

    name: str
    root: str
    download: bool = False  # into `root`, when it is listed

    def parts(self) -> Parts:
        classes = self.classes()
        return {
            part: [Item(f"{tag}-{i:08d}", classes[number], (tag, i)) for i, number in enumerate(self._numbers(tag))]
            for part, tag in self._tags().items()
        }

    def classes(self) -> list[str]:
        """Names in the order of the data set's own class numbers; of several with one name, each has its number.

        Raises:
            ConfigError: the data set cannot be had, or is none of images and their classes.
        """
        tags = self._tags()
        names = getattr(self._part(next(iter(tags.values()))), "classes", None)
        if names is None:
            return [str(number) for number in range(1 + max(max(self._numbers(tag)) for tag in tags.values()))]
        names = [", ".join(map(str, name)) if isinstance(name, tuple) else str(name) for name in names]
        times = Counter(names)
        return [f"{name} ({number})" if times[name] > 1 else name for number, name in enumerate(names)]

    def read(self, item: Item) -> Image.Image:
        tag, number = item.where
        return self._part(tag)[number][0]

    def stamp(self, item: Item) -> str:
        return self.name  # torchvision itself compares the checksum of what it loads

    def _tags(self) -> dict[str | None, str]:
        """Part -> what it is called in the data set; of two values, training is first."""
        import torchvision.datasets

        if not hasattr(torchvision.datasets, self.name):
            raise ConfigError(
                f"data.source is torchvision:{self.name}, which torchvision.datasets does not have; check the name"
            )
        if not _takes_split(self.name):
            return {
                "train": "train",
                "test": "val",
            }  # as packings that are half done have it
        found: dict[str | None, str] = {p: tag for tag, p in SPLIT_NAMES.items() if self._part(tag) is not None}
        if not found:  # EMNIST's splits are something else
            raise self._cannot_be_had(f"it has no split {', '.join(SPLIT_NAMES)}")
        return found

    def _part(self, tag: str) -> Any:
        """None: the data set has no such part."""
        try:
            return _load(self.name, self.root, tag, self.download)
        except (OSError, RuntimeError, TypeError, ValueError) as error:  # no network, no files in ROOT, no such parts
            raise self._cannot_be_had(first_line(error)) from error

    def _cannot_be_had(self, why: str) -> ConfigError:
        return ConfigError(
            f"data.source torchvision:{self.name} cannot be had ({why}); give a folder or tar of class folders, or "
            "torchvision:NAME@ROOT of a downloaded one with train and test parts"
        )

    def _numbers(self, tag: str) -> list[int]:
        """The class of each image."""
        dataset = self._part(tag)
        found = next((getattr(dataset, name) for name in LABELS if hasattr(dataset, name)), None)
        if found is None and hasattr(dataset, "_samples"):
            found = [sample[1] for sample in dataset._samples]
        try:
            return [int(number) for number in found]  # pyright: ignore[reportOptionalIterable]
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"data.source torchvision:{self.name} is no data set of images of one class each; give a folder or tar "
                "of class folders"
            ) from error


def _takes_split(name: str) -> bool:
    import torchvision.datasets

    arguments = inspect.signature(getattr(torchvision.datasets, name)).parameters
    return "split" in arguments and "train" not in arguments


@functools.cache
def _load(name: str, root: str, tag: str, download: bool) -> Any:
    """One part of a data set, loaded once a process. Raises whatever torchvision does."""
    import torchvision.datasets

    which = {"split": tag} if _takes_split(name) else {"train": tag == "train"}
    try:
        return getattr(torchvision.datasets, name)(root, **which, **({"download": True} if download else {}))
    except ValueError as error:
        if str(error).startswith(UNKNOWN_SPLIT):
            return None
        raise
