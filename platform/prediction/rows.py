"""What is known of each image after the network has seen it, and how often it was right.

In: images and their probabilities. Out: `Row`s, flat dicts of them for files, and `Accuracy`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from platform.export.description import Description
from platform.prediction.images import Files, Image, Images

Value = str | float | int | None


@dataclass(frozen=True)
class Opinion:
    """A class and its probability."""

    name: str
    probability: float


@dataclass(frozen=True)
class Row:
    """One image."""

    image: str
    split: str  # of shards; "": of none
    top: list[Opinion]  # the most probable classes, the first one is the answer; none where there is an error
    members: list[Opinion]  # the most probable class of each member
    disagreement: float | None  # share of the members with another class than the ensemble's
    label: str | None
    rank: int | None  # place of the label among all classes, from 1; None: no label, or none of the model's
    error: str | None


def rows_of(images: Sequence[Image], source: Images, found: Any, model: Description, top_k: int) -> list[Row]:
    """One row for each image, in their order.

    Args:
        images: as read; those without bytes are not in `found`.
        source: where they are from, which says whose labels count.
        found: `Predictions` of those with bytes, in order.
        model: names of classes and members.
        top_k: classes of each row.
    """
    shards = any(not isinstance(part, Files) for part in source.parts)
    rows, place = [], 0
    for image in images:
        label, number = _label(image, model.classes, known_only=not shards or not image.split)
        error = image.error
        if image.data is not None:
            error = found.errors[place]
            if error is None:
                rows.append(
                    _row(image, label, number, found.probs_NK[place], found.members_MNK[:, place], model, top_k)
                )
            place += 1
        if error is not None:
            rows.append(Row(image.name, image.split, [], [], None, label, None, error))
    return rows


def _label(image: Image, classes: list[str], *, known_only: bool) -> tuple[str | None, int | None]:
    """(label for people, number among the model's classes). A folder that is called like no class is no label."""
    if isinstance(image.label, int):
        known = 0 <= image.label < len(classes)
        return (classes[image.label], image.label) if known else (str(image.label), None)
    if image.label in classes:
        return image.label, classes.index(image.label)
    return (None, None) if known_only else (image.label, None)


def _row(
    image: Image,
    label: str | None,
    number: int | None,
    probs_K: NDArray[np.float32],
    members_MK: NDArray[np.float32],
    model: Description,
    top_k: int,
) -> Row:
    said = opinions_of(probs_K, members_MK, model, top_k)
    # Of equal classes the one with the larger number is below, as in Scores.
    rank = None if number is None else int(np.flatnonzero(np.argsort(-probs_K, kind="stable") == number)[0]) + 1
    return Row(image.name, image.split, said.top, said.members, said.disagreement, label, rank, None)


@dataclass(frozen=True)
class Opinions:
    """What is said of one image."""

    top: list[Opinion]  # the most probable classes, by all members and views together
    members: list[Opinion]  # the most probable class of each member
    disagreement: float  # share of the members with another class than all together, 0..1


def opinions_of(
    probs_K: NDArray[np.float32], members_MK: NDArray[np.float32], model: Description, top_k: int
) -> Opinions:
    """The probabilities of one image as opinions; of equal classes the one with the smaller number comes first."""
    order = np.argsort(-probs_K, kind="stable")
    top = [Opinion(model.classes[each], float(probs_K[each])) for each in order[:top_k].tolist()]
    best_M = members_MK.argmax(1).tolist()
    members = [Opinion(model.classes[best], float(probs[best])) for best, probs in zip(best_M, members_MK, strict=True)]
    return Opinions(top, members, sum(best != order[0] for best in best_M) / len(best_M))


def flat(row: Row, model: Description, top_k: int) -> dict[str, Value]:
    """The columns of a file: image, class, probability, class_2 ..., disagreement, each member's, label, error."""
    found: dict[str, Value] = {"image": row.image, "split": row.split or None}
    for place in range(min(top_k, len(model.classes))):
        suffix = f"_{place + 1}" if place else ""
        opinion = row.top[place] if place < len(row.top) else None
        found |= _columns(f"class{suffix}", f"probability{suffix}", opinion)
    if len(model.members) > 1:
        found["disagreement"] = row.disagreement
        for place, member in enumerate(model.members):
            opinion = row.members[place] if row.members else None
            found |= _columns(f"member_{member}", f"member_{member}_probability", opinion)
    return found | {"label": row.label, "label_rank": row.rank, "error": row.error}


def _columns(name: str, probability: str, opinion: Opinion | None) -> dict[str, Value]:
    return {name: opinion and opinion.name, probability: opinion and opinion.probability}


def of_flat(values: dict[str, Any], model: Description, top_k: int) -> Row:
    """The row that `flat` made these columns of."""
    top, members = [], []
    if values["error"] is None:
        suffixes = ["", *(f"_{place + 1}" for place in range(1, min(top_k, len(model.classes))))]
        top = [Opinion(values[f"class{suffix}"], values[f"probability{suffix}"]) for suffix in suffixes]
        if len(model.members) > 1:
            members = [
                Opinion(values[f"member_{each}"], values[f"member_{each}_probability"]) for each in model.members
            ]
        else:
            members = top[:1]
    return Row(
        values["image"],
        values["split"] or "",
        top,
        members,
        values.get("disagreement", None if values["error"] else 0.0),
        values["label"],
        values["label_rank"],
        values["error"],
    )


@dataclass
class Accuracy:
    """Counts over images; the parts of shards are counted apart."""

    images: int = 0
    failed: int = 0
    labelled: int = 0  # of those classified: with a label that the model has a class for
    top1: int = 0
    top5: int = 0
    strange: int = 0  # labels that are no class of the model

    def add(self, row: Row) -> None:
        """Count one image."""
        self.images += 1
        self.failed += row.error is not None
        if row.error is None and row.label is not None:
            self.labelled += row.rank is not None
            self.strange += row.rank is None
            self.top1 += row.rank == 1
            self.top5 += row.rank is not None and row.rank <= 5


@dataclass
class Summary:
    """All images: counts, the first rows, and those that failed."""

    shown: int  # rows that are kept
    rows: list[Row] = field(default_factory=list)
    failed: list[Row] = field(default_factory=list)  # the first of them
    by_split: dict[str, Accuracy] = field(default_factory=dict)

    def add(self, rows: Iterable[Row]) -> None:
        """Count rows, in order."""
        for row in rows:
            self.by_split.setdefault(row.split, Accuracy()).add(row)
            if len(self.rows) < self.shown:
                self.rows.append(row)
            if row.error is not None and len(self.failed) < self.shown:
                self.failed.append(row)

    @property
    def images(self) -> int:
        return sum(each.images for each in self.by_split.values())

    @property
    def failures(self) -> int:
        return sum(each.failed for each in self.by_split.values())
