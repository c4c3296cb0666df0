"""Labels in shards of others: class numbers, or names that get numbers.

In: all labels that occur. Out: the names of the classes; a warning about classes without images; an error if the labels
do not fit `data.classes`.
"""

from collections import Counter

from platform.config.checks import ConfigError
from platform.config.data import DataConfig
from platform.packing.items import natural
from platform.packing.parts import few

NAMED = 3  # classes in a message


def class_names(labels: set[str], data: DataConfig) -> list[str]:
    """The names of the classes; empty if the labels are numbers.

    Raises:
        ConfigError: the labels do not fit `data.classes`.
    """
    numbers = {label for label in labels if label.removeprefix("-").isdecimal()}
    if numbers and numbers != labels:
        raise ConfigError(
            f"some labels are numbers ({min(numbers)!r}) and others names ({min(labels - numbers)!r}); use one kind"
        )
    if not numbers:
        if len(labels) != data.classes:
            raise ConfigError(
                f"the shards have {len(labels)} classes, e.g. {', '.join(sorted(labels)[:NAMED])}; data.classes is "
                f"{data.classes}: set it to that, or pack.label to where the class is"
            )
        return sorted(labels, key=natural)
    longest = max(numbers, key=len)
    if len(longest) > 10:
        raise ConfigError(f"a label is {longest[:20]}..., beyond any number of classes; check pack.label")
    low, high = min(map(int, numbers)), max(map(int, numbers))
    if low < 0 or high >= data.classes:
        remedy = f"set it to {high + 1}" if low >= 0 else "write labels from 0 on"
        if low == 1:
            remedy += " (class 0 then has no image: these begin at 1)"
        raise ConfigError(
            f"the labels are {low} to {high}, data.classes is {data.classes}; labels are 0 to data.classes - 1: "
            f"{remedy}, or pack.label to where the class is"
        )
    return []


def numbers_without_image(labels: set[str], classes: int) -> list[str]:
    """A line if some classes have no image: there are fewer classes, or they are counted from 1."""
    absent = set(range(classes)) - set(map(int, labels))
    if not absent:
        return []
    begin = "; the labels begin at 1, those of data.classes classes at 0" if absent & {0, 1} == {0} else ""
    return [f"{len(absent)} of {classes} classes have no image in any part: {few(map(str, absent))}{begin}"]


def by_number(labels: Counter[str]) -> Counter[str]:
    """Images by class, with `01` and `1` as one class."""
    counts: Counter[str] = Counter()
    for label, count in labels.items():
        counts[number(label)] += count
    return counts


def number(label: str) -> str:
    """A label that is a number without leading zeros; other labels as they are."""
    return str(int(label)) if label.isdecimal() else label
