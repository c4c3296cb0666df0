"""Whether a difference of scores is more than noise between seeds.

In: the scores of each point, one a seed. Out: their pooled standard deviation, and the p-values of t-tests and F tests.
Assumed as in one-way ANOVA: normal scores, and one variance at all points.

The distributions are SciPy's. Its tests as a whole (`ttest_ind`, `f_oneway`) do not fit: they pool the variance of the
points compared only, so that a point of one seed could not be compared, and know no least variance.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

LEVEL = 0.05  # "more than noise" below it

Scores = Sequence[float]  # of one point, one a seed


@dataclass(frozen=True)
class Noise:
    """How much a score changes with the seed alone."""

    sd: float  # of a single score, 0 to 1; 0 where it is not known
    freedom: int  # degrees of freedom of `sd`; 0: every point has one seed, nothing is known

    @classmethod
    def of(cls, points: Sequence[Scores], resolution: float) -> "Noise":
        """The noise pooled over the points with several seeds, each weighted by its degrees of freedom.

        Args:
            points: the scores of each point, 0 to 1.
            resolution: the least sd that is believed, above 0. Seeds that agree to the last image show that the
                validation set is small, not that there is no noise.
        """
        freedom = sum(len(scores) - 1 for scores in points)
        if freedom <= 0:
            return cls(0.0, 0)
        squares = sum((score - fmean(scores)) ** 2 for scores in points for score in scores)
        return cls(max((squares / freedom) ** 0.5, resolution), freedom)

    def p(self, one: Scores, other: Scores) -> float | None:
        """The two-sided p-value of the difference of two points' means (Fisher's LSD); None: noise is not known."""
        if not self.freedom:
            return None
        from scipy.stats import t  # takes half a second, and few who import this module need it

        error = self.sd * (1 / len(one) + 1 / len(other)) ** 0.5
        return min(1.0, 2 * float(t.sf(abs(fmean(one) - fmean(other)) / error, self.freedom)))

    def p_of_all(self, points: Sequence[Scores]) -> float | None:
        """The p-value of all points being equal (F test of one-way ANOVA); None: noise is not known, or one point."""
        if not self.freedom or len(points) < 2:
            return None
        from scipy.stats import f

        mean = fmean(score for scores in points for score in scores)
        between = sum(len(scores) * (fmean(scores) - mean) ** 2 for scores in points) / (len(points) - 1)
        return float(f.sf(between / self.sd**2, len(points) - 1, self.freedom))
