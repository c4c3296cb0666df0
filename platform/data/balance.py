"""How often an epoch shows each sample where classes are weighted: exact counts, a pure function of (seed, epoch).

A class's samples stand on a wheel in a drawn order, and every epoch takes the next so many of it as the class is due:
in an epoch, and over any number of them, two samples of a class are shown equally often or once more.
"""

import math
from fractions import Fraction

import numpy as np

from platform.config.checks import ConfigError, require
from platform.config.data import BALANCED, SQRT
from platform.data import draws
from platform.data.line import Ids

FEW = 5  # classes in a message


class Balance:
    """How often samples are shown.

    Args:
        labels: of each sample `[samples]`.
        weights: of each class that has samples: its share of an epoch, in proportion.
        shown: samples that an epoch shows.
        seed: of the wheels.

    Raises:
        ConfigError: a class would be shown less than once.
    """

    def __init__(self, labels: Ids, weights: dict[int, Fraction], shown: int, seed: int) -> None:
        self.labels, self.shown = labels, shown
        classes = int(labels.max()) + 1
        self.samples_K = np.bincount(labels, minlength=classes)  # of each class
        due = largest_remainders(shown, list(weights.values()))
        lost = [label for label, count in zip(weights, due, strict=True) if not count]
        require(
            not lost,
            f"data.balance shows no image of the class(es) {', '.join(map(str, lost[:FEW]))} among the {shown} of an "
            "epoch; raise their weights",
        )
        self.due_K = np.zeros(classes, np.int64)  # that an epoch shows of each class
        self.due_K[list(weights)] = due
        self._places = _on_wheels(labels, self.samples_K, seed)

    def counts(self, epoch: int) -> Ids:
        """How often each sample is shown in an epoch: int64 `[samples]`, `shown` in all."""
        size, due = self.samples_K[self.labels], self.due_K[self.labels]
        begin = epoch * due - self._places - 1
        return (begin + due) // size - begin // size


def weights_of(balance: object, labels: Ids, names: dict[str, int]) -> dict[int, Fraction]:
    """What `data.balance` makes of the classes that have samples: label -> share of an epoch, in proportion.

    Args:
        balance: the setting.
        labels: of the samples.
        names: of the classes -> labels; empty: they have none.

    Raises:
        ConfigError: a mapping names a class that has no sample.
    """
    samples = {label: int(count) for label, count in enumerate(np.bincount(labels)) if count}
    if balance == BALANCED:
        return dict.fromkeys(samples, Fraction(1))
    if balance == SQRT:
        return {label: Fraction(math.sqrt(count)) for label, count in samples.items()}
    given: dict[int, Fraction] = {}
    for name, weight in dict(balance).items():  # pyright: ignore[reportArgumentType, reportCallIssue]  # checked in the config
        label = names.get(str(name), int(name) if str(name).isdecimal() else -1)
        if label not in samples:
            known = list(names) or [str(each) for each in samples]
            more = ", ..." if len(known) > FEW else ""
            raise ConfigError(
                f"data.balance names the class {name}, of which there is no training image; the classes are "
                f"{', '.join(known[:FEW])}{more}"
            )
        given[label] = Fraction(str(weight))
    return {label: count * given.get(label, Fraction(1)) for label, count in samples.items()}


def largest_remainders(total: int, weights: list[Fraction]) -> list[int]:
    """`total` divided in proportion to weights, each less than one from its exact share (Hamilton's method); of equal
    remainders the first comes first."""
    whole = sum(weights)
    exact = [weight * total / whole for weight in weights]
    found = [math.floor(share) for share in exact]
    by_remainder = sorted(range(len(exact)), key=lambda place: found[place] - exact[place])
    for place in by_remainder[: total - sum(found)]:
        found[place] += 1
    return found


def _on_wheels(labels: Ids, samples_K: Ids, seed: int) -> Ids:
    """Each sample's place on the wheel of its class, counted from 0."""
    drawn = np.random.Generator(np.random.Philox(draws.key(seed, len(labels)))).permutation(len(labels))
    by_class = drawn[np.argsort(labels[drawn], kind="stable")]
    firsts = np.cumsum(samples_K) - samples_K
    places = np.empty(len(labels), np.int64)
    places[by_class] = np.arange(len(labels)) - firsts[labels[by_class]]
    return places
