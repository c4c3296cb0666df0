"""Whether the parts of a data set fit together: classes that are validated or tested must have been trained.

In: how many images of each class each part has. Out: an error, or a warning of one line.
"""

import math
from collections.abc import Iterable, Mapping

from platform.config.checks import ConfigError
from platform.packing.items import natural

NAMED = 3  # classes in one line
SURELY = 20  # an event with a probability below e^-20 is no chance: no image of a class where 20 are expected

Counts = Mapping[str, Mapping[str, int]]  # part -> class -> images


def refuse_untrained(counts: Counts, remedy: str) -> None:
    """Refuse parts with classes that have no training image: no model could recognise them.

    Raises:
        ConfigError: names them, with `remedy`.
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
    """Evidence (the classes it lacks) that `part`, taken from one end of the data, is no random sample; None: none."""
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
    """Whether chance explains how many classes are in `part` only, if it was taken from one end of well-mixed data.

    A class of n images is wholly in a part that has the share p of all images with probability p^n. The sum over all
    classes is the expected number of such classes; Chernoff's bound gives the probability of the number found.
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
    """A line for each part that has no image of some trained classes, such as those of one or two images."""
    lines = []
    for part, of_part in counts.items():
        absent = counts["train"].keys() - of_part.keys()
        if absent:
            lines.append(f"{len(absent)} of the {len(counts['train'])} classes have no {part} image: {few(absent)}")
    return lines


def few(names: Iterable[str]) -> str:
    """The first names, in natural order, for a message."""
    ordered = sorted(names, key=natural)
    return ", ".join(name[:40] for name in ordered[:NAMED]) + (" ..." if len(ordered) > NAMED else "")
