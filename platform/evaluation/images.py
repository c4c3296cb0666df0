"""What each member and the ensemble said of every image of a split, with the largest number of views: `images.npz`.

In: the members' mean probabilities, a chunk of images at a time, as `ensemble.score` reads them. Out: a small file (at
most 200 bytes an image for seven members) from which intervals, paired tests, pictures and `job=compare` are made
without the probabilities.
"""

import dataclasses
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from platform.config.checks import ConfigError
from platform.evaluation.statistics import calibration
from platform.files import replacing
from platform.text import first_line

if TYPE_CHECKING:
    from torch import Tensor

UNKNOWN = -1
NEWER = ("right_CN",)  # which files of earlier versions do not have
WHAT_IS_SAID = (
    "predicted_EN", "confidence_EN", "label_probability_EN", "rank_EN", "brier_EN", "without_MN", "hits_CN", "right_CN",
)  # fmt: skip
NO_CLASS = -1  # predicted where an image is corrupt or a probability is no number; never a label
DAMAGE = (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile)


@dataclass
class ImageResults:
    """E: each member, then the ensemble (a single member is its own). Of corrupt images nothing holds but the label.

    Two of these are the same images if `labels_N` are equal and they come from the same data: see `fingerprint` in
    `platform.experiment.fingerprint`.
    """

    names: list[str]  # of the members
    view_counts: list[int]  # that were scored; probabilities are means over the largest
    labels_N: NDArray[np.int32]
    valid_N: NDArray[np.bool_]  # false: corrupt for some member, and in no score
    predicted_EN: NDArray[np.int32] = field(init=False)  # the likeliest class; -1: none
    confidence_EN: NDArray[np.float32] = field(init=False)  # its probability, of 1 for all classes together
    label_probability_EN: NDArray[np.float32] = field(init=False)
    rank_EN: NDArray[np.int32] = field(init=False)  # classes above the label; 0: right
    brier_EN: NDArray[np.float32] = field(init=False)  # Brier score, 0 to 2
    without_MN: NDArray[np.int32] = field(init=False)  # class predicted without a member; [0, N] of one
    hits_CN: NDArray[np.uint16] = field(init=False)  # members that are right, for each of `view_counts`
    right_CN: NDArray[np.int8] = field(init=False)  # whether the ensemble is; -1: corrupt, or an earlier version's file

    def __post_init__(self) -> None:
        members, samples = len(self.names), len(self.labels_N)
        every = (members + 1, samples)
        self.predicted_EN, self.rank_EN = np.full(every, NO_CLASS, np.int32), np.full(every, 2**31 - 1, np.int32)
        self.confidence_EN, self.label_probability_EN, self.brier_EN = (
            np.full(every, np.nan, np.float32) for _ in range(3)
        )
        self.without_MN = np.full((members if members > 1 else 0, samples), NO_CLASS, np.int32)
        self.hits_CN = np.zeros((len(self.view_counts), samples), np.uint16)
        self.right_CN = np.full((len(self.view_counts), samples), UNKNOWN, np.int8)

    @property
    def views(self) -> int:
        """The number of views that everything but `hits_CN` is of."""
        return max(self.view_counts)

    @property
    def right_EN(self) -> NDArray[np.bool_]:
        """Whether the likeliest class is the label; false for corrupt images."""
        return self.rank_EN == 0

    @property
    def ensemble(self) -> int:
        """The place of the ensemble in E."""
        return len(self.names)

    def ensemble_right_N(self, views: int) -> NDArray[np.bool_] | None:
        """Whether the ensemble's likeliest class is the label with so many views; false for corrupt images.

        Args:
            views: one of `view_counts`.

        Returns:
            None: such views were not scored, or an earlier version did not keep what the ensemble said with them.
        """
        if views == self.views:
            return self.right_EN[self.ensemble]
        if views not in self.view_counts:
            return None
        right_N = self.right_CN[self.view_counts.index(views)]
        return None if (right_N[self.valid_N] == UNKNOWN).any() else right_N == 1

    def add_hits(self, place: int, start: int, means_MNK: "Tensor") -> None:
        """Note which members, and whether the ensemble, are right of the images from `start` on.

        Args:
            place: in `view_counts`.
            start: number of the first image.
            means_MNK: probabilities, means over so many views.
        """
        here, labels, valid = self._chunk(start, means_MNK.shape[1])
        from platform.evaluation.metrics import rank_of_label

        for means_NK in means_MNK[:, valid]:
            self.hits_CN[place, here[valid.numpy()]] += (rank_of_label(means_NK, labels) < 1).numpy()
        self.right_CN[place, here[valid.numpy()]] = (rank_of_label(means_MNK[:, valid].mean(0), labels) < 1).numpy()

    def add(self, start: int, means_MNK: "Tensor") -> None:
        """Take in what was predicted of the images from `start` on.

        Args:
            start: number of the first image.
            means_MNK: probabilities, means over the largest number of views.
        """
        here, labels, valid = self._chunk(start, means_MNK.shape[1])
        from platform.evaluation.metrics import rank_of_label

        places, means_MNK = here[valid.numpy()], means_MNK[:, valid]
        for number, probs_NK in enumerate([*means_MNK, means_MNK.mean(0)]):
            self.rank_EN[number, places] = rank_of_label(probs_NK, labels).numpy()
            self._describe(number, places, probs_NK.numpy(), labels.numpy())
        for number in range(len(self.without_MN)):
            others = [each for each in range(len(self.names)) if each != number]
            self.without_MN[number, places] = likeliest(means_MNK[others].mean(0).numpy())

    def take(self, start: int, some: "ImageResults") -> None:
        """Take in what was said of the images from `start` on, which `some` has alone."""
        here = slice(start, start + len(some.labels_N))
        for name in WHAT_IS_SAID:
            getattr(self, name)[:, here] = getattr(some, name)

    def _chunk(self, start: int, samples: int) -> tuple[NDArray[np.int64], "Tensor", "Tensor"]:
        """The numbers of a chunk's images, the labels of the valid ones, and which are valid."""
        import torch

        here = np.arange(start, start + samples)
        valid = self.valid_N[here]
        return here, torch.from_numpy(self.labels_N[here][valid].astype(np.int64)), torch.from_numpy(valid)

    def _describe(
        self, number: int, places: NDArray[np.int64], probs_NK: NDArray[np.float32], labels_N: NDArray[np.int64]
    ) -> None:
        predicted, rows = likeliest(probs_NK), np.arange(len(probs_NK))
        with np.errstate(invalid="ignore", divide="ignore"):
            shares_NK = probs_NK.astype(np.float64) / probs_NK.sum(1, dtype=np.float64, keepdims=True)
        self.predicted_EN[number, places] = predicted
        self.confidence_EN[number, places] = np.where(predicted == NO_CLASS, np.nan, shares_NK[rows, predicted])
        self.label_probability_EN[number, places] = shares_NK[rows, labels_N]
        self.brier_EN[number, places] = calibration.brier(shares_NK, labels_N)


def likeliest(probs_NK: NDArray[np.floating]) -> NDArray[np.int32]:
    """The class of the largest probability, of equal ones the first; -1 where one is no number."""
    return np.where(np.isnan(probs_NK).any(1), NO_CLASS, probs_NK.argmax(1)).astype(np.int32)


def write_images(file: Path, images: ImageResults, digest: str) -> None:
    """Write them, whole or not at all.

    Args:
        file: images.npz.
        images: to be written.
        digest: of what they were computed from.

    Raises:
        OSError: the disk has no room for it.
    """
    with replacing(file) as unfinished, unfinished.open("wb") as opened:
        np.savez_compressed(opened, digest=np.array(digest), **_arrays(images))  # pyright: ignore[reportArgumentType]


def read_images(file: Path, digest: str | None = None) -> ImageResults | None:
    """What `write_images` left; None where there is no such file, or one of another digest than is asked for.

    Raises:
        ConfigError: it is damaged.
    """
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as content:
            if digest is not None and str(content["digest"]) != digest:
                return None
            return _images({name: content[name] for name in content.files if name != "digest"})
    except FileNotFoundError:
        return None
    except DAMAGE as error:
        raise ConfigError(
            f"{file} is damaged ({type(error).__name__}: {first_line(error)}); remove it, and the next launch of the "
            "experiment makes it anew"
        ) from error


@dataclass(frozen=True)
class KeptRight:
    """Whether the ensemble, or the single network, of a file is right about each image."""

    view_counts: list[int]  # that were scored
    right_N: NDArray[np.bool_]  # false for corrupt images
    valid_N: NDArray[np.bool_]


def read_right(file: Path, views: int) -> KeptRight | None:
    """That alone, out of what `write_images` left: a sweep has many files; None where there is no such file, or nothing
    with so many views in it.

    Args:
        file: images.npz.
        views: how many.

    Raises:
        ConfigError: it is damaged.
    """
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as content:
            counts, valid = [int(each) for each in content["view_counts"]], content["valid_N"]
            if views not in counts or "right_CN" not in content.files:
                return None
            right = content["right_CN"][counts.index(views)]
    except FileNotFoundError:
        return None
    except DAMAGE as error:
        raise ConfigError(f"{file} is damaged ({type(error).__name__}: {first_line(error)}); remove it") from error
    return None if (right[valid] == UNKNOWN).any() else KeptRight(counts, right == 1, valid)


def has_images(file: Path, digest: str) -> bool:
    """Whether the file is there with this digest; reads only that of it."""
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as content:
            return str(content["digest"]) == digest
    except DAMAGE:
        return False


def _arrays(images: ImageResults) -> dict[str, NDArray]:
    return {each.name: np.asarray(getattr(images, each.name)) for each in dataclasses.fields(images)}


def _images(arrays: dict[str, NDArray]) -> ImageResults:
    """The results of a file's arrays.

    Raises:
        ValueError: or KeyError: arrays are missing or do not fit each other.
    """
    names, counts = [str(name) for name in arrays["names"]], [int(views) for views in arrays["view_counts"]]
    images = ImageResults(names, counts, arrays["labels_N"], arrays["valid_N"])
    for each in dataclasses.fields(images):
        if not each.init and (each.name in arrays or each.name not in NEWER):
            before = getattr(images, each.name)
            if (before.shape, before.dtype) != (arrays[each.name].shape, arrays[each.name].dtype):
                raise ValueError(f"{each.name} is {arrays[each.name].dtype}{list(arrays[each.name].shape)}")
            setattr(images, each.name, arrays[each.name])
    return images


def same_images(results: Sequence[ImageResults]) -> bool:
    """Whether they are of as many images with the same labels."""
    first = results[0].labels_N
    return all(np.array_equal(each.labels_N, first) for each in results)
