"""Whether the parts of a data set fit one another: what is validated or tested must have been trained.

In: how many images of which class each part has. Out: an error or a line.
"""

import math
from collections.abc import Iterable, Mapping

from platform.config.checks import ConfigError
from platform.packing.items import natural

NAMED = 3  # classes in one line
SURELY = 20  # what has the probability e^-20 is no chance, such as no image of a class of which so many are expected

Counts = Mapping[str, Mapping[str, int]]  # part -> class -> images


def refuse_untrained(counts: Counts, remedy: str) -> None:
    """Refuse parts with classes that training has no image of: nothing could ever recognise them.

    Raises:
        ConfigError: there are such.
    """
    trained = counts["train"].keys()
    for part, of_part in counts.items():
        missing = of_part.keys() - trained
        if missing:
            raise ConfigError(
                f"{len(missing)} of the {len(of_part)} classes of the {part} part have no training image: "
                f"{few(missing)}; {remedy}"
            )


def sorted_by_class(counts: Counts, part: str) -> str | None:
    """What shows that `part`, taken off one end of the data, is no sample of all: classes that it should have."""
    images, trained = sum(counts[part].values()), sum(counts["train"].values())
    absent = [
        name
        for name, count in counts["train"].items()
        if name not in counts[part] and count / (trained + images) * images >= SURELY
    ]
    if not absent:
        return None
    return f"{len(absent)} of the {len(counts['train'])} classes have none of its {images} images: {few(absent)}"


def may_be_chance(counts: Counts, part: str) -> bool:
    """Whether a part that was taken off one end of well-mixed data may well have so many classes for itself, which then
    are those of few images.

    Of a class of n images all are in a part with the share p of the images with the probability p^n. The sum of these
    is the number of such classes to expect, and Chernoff's bound is for the number found.
    """
    held_out, trained = counts[part], counts["train"]
    images = sum(held_out.values())
    share = images / (images + sum(trained.values()))
    sizes = [held_out.get(name, 0) + trained.get(name, 0) for name in held_out.keys() | trained.keys()]
    expected, found = math.fsum(share**size for size in sizes), len(held_out.keys() - trained.keys())
    if found <= expected:
        return True
    return expected > 0 and found * math.log(found / expected) - found + expected < SURELY


def without_image(counts: Counts) -> list[str]:
    """A line for each part that lacks trained classes, such as those of one or two images."""
    lines = []
    for part, of_part in counts.items():
        absent = counts["train"].keys() - of_part.keys()
        if absent:
            lines.append(f"{len(absent)} of the {len(counts['train'])} classes have no {part} image: {few(absent)}")
    return lines


def few(names: Iterable[str]) -> str:
    ordered = sorted(names, key=natural)
    return ", ".join(name[:40] for name in ordered[:NAMED]) + (" ..." if len(ordered) > NAMED else "")
