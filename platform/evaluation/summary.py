"""How sure the scores of members and their ensemble are, with the largest number of views: what the tables say of it.

In: what was said of each image. Out: `Summary`: intervals, calibration, the members best first, each against the next,
the ensemble against the best of them and against itself without each, and how often two members differ.
"""

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from platform.evaluation.images import ImageResults
from platform.evaluation.metrics import Scores
from platform.evaluation.statistics import calibration
from platform.evaluation.statistics.diversity import disagreement
from platform.evaluation.statistics.intervals import Interval, bootstrap_mean, wilson
from platform.evaluation.statistics.paired import Paired, corrected, paired


@dataclass(frozen=True)
class Figures:
    """A member or the ensemble. Errors are shares of the valid images; NaN where there are none."""

    samples: int
    wrong: int  # their likeliest class is not the label
    interval: Interval  # of the top-1 error, Wilson's
    ece: float
    brier: float
    nll: float

    @property
    def error(self) -> float:
        """Top-1."""
        return self.wrong / self.samples if self.samples else float("nan")


@dataclass(frozen=True)
class Summary:
    """Comparisons of the same name were made together and are corrected for that (Holm)."""

    views: int
    members: dict[str, Figures]
    ensemble: Figures
    mean_errors: dict[int, Interval]  # number of views -> interval of the mean of the members' top-1 errors
    ensemble_errors: dict[int, Interval]  # the same of the ensemble
    alternative_errors: dict[str, Interval]  # of the alternatives in the table
    ranking: list[str]  # members, best first; of equal ones the first
    neighbours: list[Paired]  # each of the ranking against the next
    against_best: Paired | None  # the ensemble against the first of the ranking; None: there is one member
    gains: dict[str, Paired]  # the ensemble against the ensemble without this member; none of one
    disagreement: list[list[float]]  # members x members: share of images for which they predict different classes

    @property
    def best(self) -> str:
        """The member with the lowest error."""
        return self.ranking[0]

    @classmethod
    def of(cls, images: ImageResults, ensemble: dict[int, Scores], alternatives: dict[str, Scores]) -> Self:
        """Compute it.

        Args:
            images: what was said of them.
            ensemble: number of views -> scores of the ensemble, of the same images.
            alternatives: the same of the alternatives in the table.
        """
        members = {name: figures_of(images, number, images.valid_N) for number, name in enumerate(images.names)}
        ranking = sorted(members, key=lambda name: members[name].wrong)
        right = dict(zip(images.names, images.right_EN[:-1, images.valid_N], strict=True))
        whole = images.right_EN[-1, images.valid_N]
        without = (images.without_MN == images.labels_N)[:, images.valid_N]
        gains = corrected([paired(whole, others) for others in without])
        neighbours = zip(ranking, ranking[1:], strict=False)
        return cls(
            views=images.views,
            members=members,
            ensemble=figures_of(images, images.ensemble, images.valid_N),
            mean_errors={
                views: _mean_error(images, hits_N)
                for views, hits_N in zip(images.view_counts, images.hits_CN, strict=True)
            },
            ensemble_errors={views: _error(each) for views, each in ensemble.items()},
            alternative_errors={note: _error(each) for note, each in alternatives.items()},
            ranking=ranking,
            neighbours=corrected([paired(right[one], right[other]) for one, other in neighbours]),
            against_best=_against_best(whole, right[ranking[0]], len(members)) if len(members) > 1 else None,
            gains=dict(zip(images.names, gains, strict=True)) if len(members) > 1 else {},
            disagreement=disagreement(images.predicted_EN[:-1, images.valid_N]).tolist(),
        )

    @classmethod
    def of_json(cls, content: dict[str, Any]) -> Self:
        """The inverse of `dataclasses.asdict`.

        Raises:
            ValueError: or KeyError, TypeError, AttributeError: it is none.
        """
        best = content["against_best"]
        return cls(
            views=int(content["views"]),
            members={str(name): Figures(**_fields(each)) for name, each in content["members"].items()},
            ensemble=Figures(**_fields(content["ensemble"])),
            mean_errors={int(views): Interval(**each) for views, each in content["mean_errors"].items()},
            ensemble_errors={int(views): Interval(**each) for views, each in content["ensemble_errors"].items()},
            alternative_errors={note: Interval(**each) for note, each in content["alternative_errors"].items()},
            ranking=[str(name) for name in content["ranking"]],
            neighbours=[Paired(**_fields(each)) for each in content["neighbours"]],
            against_best=Paired(**_fields(best)) if best is not None else None,
            gains={str(name): Paired(**_fields(each)) for name, each in content["gains"].items()},
            disagreement=[[float(share) for share in row] for row in content["disagreement"]],
        )


def _against_best(whole_N: NDArray[np.bool_], best_N: NDArray[np.bool_], members: int) -> Paired:
    """The ensemble against its best member, which these images have chosen. An ensemble that is better all the same is
    better than a lucky one; where the member is ahead, it is the luckiest of so many, and p is multiplied by them."""
    found = paired(whole_N, best_N)
    return replace(found, p_holm=min(1.0, members * found.p)) if found.difference < 0 else found


def figures_of(images: ImageResults, number: int, valid: NDArray[np.bool_]) -> Figures:
    """The figures of a member, or of the ensemble.

    Args:
        images: what was said of them.
        number: in E of `ImageResults`.
        valid: the images that count.
    """
    right, confidence = images.right_EN[number, valid], images.confidence_EN[number, valid]
    wrong = int((~right).sum())
    return Figures(
        samples=len(right),
        wrong=wrong,
        interval=wilson(wrong, len(right)),
        ece=calibration.ece(confidence, right),
        brier=calibration.mean(images.brier_EN[number, valid]),
        nll=calibration.nll(images.label_probability_EN[number, valid]),
    )


def _error(scores: Scores) -> Interval:
    return wilson(scores.samples - scores.top1, scores.samples)


def _mean_error(images: ImageResults, hits_N: NDArray[np.uint16]) -> Interval:
    """Of the mean of the members' errors. They see the same images: Wilson's interval, which takes all answers for
    independent, would be too narrow. A single member's is Wilson's."""
    members, hits = len(images.names), hits_N[images.valid_N]
    if members == 1:
        return wilson(int((hits == 0).sum()), len(hits))
    return bootstrap_mean(1 - hits / members)


def _fields(content: dict[str, Any]) -> dict[str, Any]:
    """The fields of `Figures` or `Paired`.

    Raises:
        ValueError: one is no number.
    """
    numbers = {key: value for key, value in content.items() if key != "interval"}
    ends = content["interval"]
    if not all(isinstance(value, int | float) for value in (*numbers.values(), *ends.values())):
        raise ValueError(f"figures {content!r:.60}")
    return numbers | {"interval": Interval(**ends)}
