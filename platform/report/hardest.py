"""The hardest validation images: those of whose label the ensemble is least sure, with what each member says.

In: what was predicted of each image, and the split. Out: cards with thumbnails.
"""

import time
from collections.abc import Sequence

import numpy as np

from platform.data.index import Split
from platform.drawing.drawing import shortened_name
from platform.evaluation.images import ImageResults
from platform.report.section import Absent, Card, Section
from platform.report.thumbnails import EXACT_UP_TO, uri_of

TITLE = "The hardest images"
SHOWN = 18
LONGEST_S = 20.0  # for reading them, which may mean to fetch shards
NAME = 32


def section(images: ImageResults, split: Split, classes: Sequence[str], member: str | None = None) -> Section:
    """The section of the hardest images.

    Args:
        images: what was said of each.
        split: that holds them.
        classes: names, in the order of the labels.
        member: for which they are hard; None: for the ensemble.

    Raises:
        Absent: there is no image, or other ones than were evaluated.
        ShardError: the shards cannot be read.
    """
    if len(images.labels_N) != split.samples:
        raise Absent(f"the shards hold {split.samples:,} images now, and {len(images.labels_N):,} were evaluated")
    places = np.flatnonzero(images.valid_N)
    if not len(places):
        raise Absent("no image could be decoded")
    number = images.names.index(member) if member else images.ensemble
    hardest = places[np.argsort(images.label_probability_EN[number, places], kind="stable")][:SHOWN].tolist()
    cards, until = [], time.monotonic() + LONGEST_S
    for place in hardest:
        if time.monotonic() < until:
            cards.append(_card(place, number, images, split, classes))
    whose = member or ("the ensemble" if len(images.names) > 1 else "the model")
    notes = [f"The images to whose label {whose} gives the lowest probability, in %. The label may be wrong, too."]
    if len(cards) < len(hardest):
        notes.append(f"Reading stopped after {LONGEST_S:.0f} s: {len(cards)} of {len(hardest)} are shown.")
    return Section("hardest", TITLE, notes, cards=cards)


def _card(place: int, number: int, images: ImageResults, split: Split, classes: Sequence[str]) -> Card:
    from platform.data.decode import EncodedImage

    sample = split.read(place)
    label = int(images.labels_N[place])
    if sample.label != label:
        raise Absent("the shards do not hold the images that were evaluated")
    pixels = EncodedImage(sample.image).decode()
    own, said = images.label_probability_EN[number, place], int(images.predicted_EN[number, place])
    title = f"{_name(label, classes)}: {100 * float(own):.2g}%"
    lines = [f"taken for {_name(said, classes)}" if said != label else "recognised all the same"]
    if len(images.names) > 1:
        lines += _by_class(place, images, classes)
    return Card(uri_of(pixels), title, [*lines, f"image {sample.key}"], pixels=max(pixels.shape[:2]) <= EXACT_UP_TO)


def _by_class(place: int, images: ImageResults, classes: Sequence[str]) -> list[str]:
    """Which members say which class, the most frequent first; the label is marked."""
    said: dict[int, list[str]] = {}
    for name, predicted in zip(images.names, images.predicted_EN[:-1, place].tolist(), strict=True):
        said.setdefault(predicted, []).append(name)
    label = int(images.labels_N[place])
    return [
        f"{'✓ ' if each == label else ''}{_name(each, classes)} ({len(names)}): {', '.join(names)}"
        for each, names in sorted(said.items(), key=lambda item: -len(item[1]))
    ]


def _name(label: int, classes: Sequence[str]) -> str:
    return shortened_name(classes[label], NAME) if 0 <= label < len(classes) else "no class"
