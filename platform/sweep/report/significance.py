"""Whether a difference of scores is more than noise between seeds.

In: the scores of each point, one a seed. Out: their pooled standard deviation, and the two-sided p of t-tests.
Assumed as in one-way ANOVA: normal scores, and one variance at all points.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

LEVEL = 0.05  # "more than noise" below it

Scores = Sequence[float]  # of one point, one a seed


@dataclass(frozen=True)
class Noise:
    """How much a score changes with the seed alone."""

    sd: float  # of one score, a share; 0 where nothing is known
    freedom: int  # degrees of freedom behind it; 0: one seed a point, nothing is known

    @classmethod
    def of(cls, points: Sequence[Scores], resolution: float) -> "Noise":
        """Pooled over the points with several seeds, each weighted by its degrees of freedom.

        `resolution` is the least sd believed: seeds that agree to the last image show that the validation set is
        small, not that there is no noise.
        """
        freedom = sum(len(scores) - 1 for scores in points)
        if freedom <= 0:
            return cls(0.0, 0)
        squares = sum((score - fmean(scores)) ** 2 for scores in points for score in scores)
        return cls(max((squares / freedom) ** 0.5, resolution), freedom)

    def p(self, one: Scores, other: Scores) -> float | None:
        """Of their means being so far apart where there is no difference (Fisher's LSD); None: unknown."""
        if not self.freedom:
            return None
        from scipy.special import stdtr  # the t distribution; here, as few who import this module need it

        error = self.sd * (1 / len(one) + 1 / len(other)) ** 0.5
        return min(1.0, 2 * float(stdtr(self.freedom, -abs(fmean(one) - fmean(other)) / error)))

    def p_of_all(self, points: Sequence[Scores]) -> float | None:
        """Of the points differing so much where none does (the F test of one-way ANOVA); None: unknown."""
        if not self.freedom or len(points) < 2:
            return None
        from scipy.special import fdtrc

        middle = fmean(score for scores in points for score in scores)
        between = sum(len(scores) * (fmean(scores) - middle) ** 2 for scores in points) / (len(points) - 1)
        return float(fdtrc(len(points) - 1, self.freedom, between / self.sd**2))


def holm(ps: Sequence[float]) -> list[float]:
    """The p of several comparisons made at once, in their order (Holm 1979).

    Below 0.05 for any true equality in at most 5% of the cases, however many there are.
    """
    corrected = [0.0] * len(ps)
    largest = 0.0
    for before, place in enumerate(sorted(range(len(ps)), key=lambda place: ps[place])):
        largest = max(largest, min(1.0, (len(ps) - before) * ps[place]))
        corrected[place] = largest
    return corrected
