"""What the scores say in a sentence or two, and how sure that is.

In: the summary of an ensemble's or a single model's scores. Out: text for terminals, Markdown and MLflow.
"""

import math

from platform.evaluation.metrics import Scores
from platform.evaluation.statistics.intervals import Interval
from platform.evaluation.statistics.paired import Paired, PairedMeans, p_text
from platform.evaluation.summary import Summary


def verdict(summary: Summary) -> str:
    """Of an ensemble whether it is better than its best member, and whether that one is better than the next; of a
    single model its error with the interval."""
    crops = f"with {summary.views} crop{'s' * (summary.views > 1)}"
    if not summary.ensemble.samples:
        return "No image can be decoded, so that nothing can be said."
    if summary.against_best is None:
        error, interval = summary.ensemble.error, interval_text(summary.ensemble.interval)
        return f"Top-1 error {100 * error:.2f}% {crops} (95% CI {interval}, {summary.ensemble.samples:,} images)."
    what, best = f"The ensemble of {len(summary.members)}", f"its best member {summary.best}"
    return f"{comparing(what, best, summary.against_best, crops)} {_lead(summary)}"


def interval_text(interval: Interval) -> str:
    """`1.15 to 4.31%`, of shares of one."""
    if math.isnan(interval.low):
        return "unknown"
    return f"{100 * interval.low:.2f} to {100 * interval.high:.2f}%"


def sureness(found: Paired | PairedMeans) -> str:
    """`95% CI -0.56 to 1.39, exact McNemar p = 0.63`: of a difference in percentage points."""
    ends = f"{100 * found.interval.low:.2f} to {100 * found.interval.high:.2f}"
    correction = f", corrected p {p_text(found.p_holm)}" if found.p_holm != found.p else ""
    interval = "unknown" if math.isnan(found.interval.low) else ends
    return f"95% CI {interval}, {found.test} p {p_text(found.p)}{correction}"


def comparing(one: str, other: str, found: Paired, crops: str) -> str:
    """Whether one is better than the other, in a sentence.

    Args:
        one: what is compared.
        other: with what.
        found: the comparison.
        crops: as "with 10 crops".
    """
    points = f"{100 * found.difference:.2f} points of top-1 {crops} ({sureness(found)})"
    if not found.first + found.second:
        return f"{one} is right on the same images as {other}, {crops}."
    if not found.is_significant and found.difference > 0:
        return f"{one} is not better than {other} beyond noise: {points}."
    if not found.is_significant:
        return f"{one} is not better than {other}: {points}, which may be noise."
    if found.difference > 0:
        return f"{one} is better than {other} by {points}."
    return f"{one} is worse than {other}: {points}."


def fewer_crops(by_views: dict[int, Scores], models: int) -> str:
    """A sentence on the number of crops with the lowest top-1 error, if it is not the largest; else nothing.

    Args:
        by_views: number of crops -> scores.
        models: how many see each crop.
    """
    errors = {views: 1 - scores.rates()["top1"] for views, scores in by_views.items()}
    most, lowest = max(errors), min(errors, key=lambda views: (errors[views], views))
    if not errors[lowest] < errors[most]:
        return ""
    whose, crops = "the ensemble's" if models > 1 else "the", f"{lowest} crop{'s' * (lowest > 1)}"
    return (
        f"With {crops} {whose} top-1 error is lower (not tested): {100 * errors[lowest]:.2f}% instead of "
        f"{100 * errors[most]:.2f}%, with {lowest * models:,} forward passes an image instead of {most * models:,}."
    )


def _lead(summary: Summary) -> str:
    """Whether the best member is certain."""
    first, second = summary.ranking[:2]
    found = summary.neighbours[0]
    best, following = (f"{100 * summary.members[name].error:.2f}%" for name in (first, second))
    p = f"(p {p_text(found.p_holm)})"
    if found.is_significant:
        return f"Of the members {first} is best: {best} top-1 error, {following} of the next, {second} {p}."
    return f"Which member is best is not certain: {first} and {second} have {best} and {following} top-1 error {p}."
