"""What a ranking says in a sentence or two, and how sure that is; the words are those of an ensemble's verdict.

In: a ranking. Out: text for terminals, Markdown, the page and MLflow. The first sentence is the answer.
"""

from collections.abc import Sequence
from statistics import fmean

from platform.evaluation.statistics.paired import p_text
from platform.evaluation.verdict import interval_text, sureness
from platform.sweep.report.labels import point_label
from platform.sweep.report.outcome import Ranked
from platform.sweep.report.ranking import Ranking

NAMED = 6  # points at most in a sentence


def verdict(ranking: Ranking) -> str:
    """Which point is best, by how much, whether that is more than noise, and what not to rely on."""
    if ranking.best is None:
        return f"No point has a final score, so there is nothing to rank. Trials: {ranking.tally}."
    sentences = [_answer(ranking), _luck(ranking), _contenders(ranking), _one_seed(ranking), _front(ranking)]
    return " ".join(sentence for sentence in sentences if sentence)


def cautions(ranking: Ranking) -> list[str]:
    """Further reasons for caution about the order, one or two sentences each."""
    sentences = [_unfinished_seeds(ranking), _finalists(ranking), _selected(ranking), _small_set(ranking)]
    sentences += [_untested(ranking), _pbt(ranking), _waiting(ranking)]
    return [sentence for sentence in sentences if sentence]


def score_text(point: Ranked) -> str:
    """`91.20% ± 0.31 over 3 seeds`."""
    if point.sd is None:
        return f"{100 * point.mean:.2f}% with one seed"
    return f"{100 * point.mean:.2f}% ± {100 * point.sd:.2f} over {point.n} seeds"


def _answer(ranking: Ranking) -> str:
    """The first sentence: the best point, its score, its lead over the next and whether that is beyond noise."""
    best = ranking.points[0]
    label = point_label(best.values)
    interval = f"95% CI {interval_text(best.interval)}, " if best.interval else ""
    score = f"top-1 {score_text(best)} ({interval}{ranking.val_samples:,} images)"
    how, lead = _lead(ranking)
    return f"{best.name}{f' ({label})' if label else ''} is {how}: {score}{lead}."


def _lead(ranking: Ranking) -> tuple[str, str]:
    """How surely it is the best, and the lead over the second with what makes it sure."""
    if ranking.lead is None:
        return "the only point that finished", "; there is nothing to compare it with"
    best, second = ranking.points[:2]
    if second.n == 1 < best.n:
        return "best", "; no other point has several seeds"
    tests = [sureness(second.images_best)] if second.images_best else []
    if second.p_best is not None and second.p_above is not None:
        corrected = f", corrected p {p_text(second.p_best)}" if second.p_best != second.p_above else ""
        tests.append(f"{'over' if tests else 'noise between'} seeds t-test p {p_text(second.p_above)}{corrected}")
    ahead = (
        f"ties with {second.name}" if second.rank == 1 else f"{100 * ranking.lead:.2f} points ahead of {second.name}"
    )
    if not tests:
        unknown = "whether that is noise is unknown: one seed a point, and no record of single images"
        return "best", f", {ahead}; {unknown}"
    return _surely(second), f", {ahead} ({'; '.join(tests)})"


def _surely(second: Ranked) -> str:
    """Beyond which noise the first is better than the second, by every test that there is."""
    if second.contender:
        return "best, but not beyond noise"
    if second.p_best is None:
        return "best beyond noise between images"  # between seeds nobody knows
    return "best beyond noise" if second.images_best else "best beyond noise between seeds"


def _luck(ranking: Ranking) -> str:
    """Points that one seed puts above the best."""
    best = ranking.points[0]
    lucky = [point for point in ranking.points if point.n == 1 < best.n and point.mean > best.mean]
    scores = ", ".join(f"{point.name} {100 * point.mean:.2f}%" for point in lucky[:NAMED])
    return f"Higher with one seed, which may be luck: {scores}; give them more seeds." if lucky else ""


def _contenders(ranking: Ranking) -> str:
    others = [point for point in ranking.contenders if point is not ranking.best and not point.differs]
    if not others or not ranking.is_tested:
        return ""
    count = len(ranking.points) - 1
    return f"Not distinguishable from it: {_names(others)} ({count} comparison{'s' * (count > 1)}, Holm)."


def _names(points: Sequence[Ranked]) -> str:
    more = f" and {len(points) - NAMED} more" if len(points) > NAMED else ""
    return ", ".join(point.name for point in points[:NAMED]) + more


def _one_seed(ranking: Ranking) -> str:
    best = ranking.points[0]
    if best.n > 1:
        return ""
    tried = len(ranking.points) + len(ranking.rest)
    chosen = f" and was chosen among {tried} points, so its score is optimistic (selection bias)" if tried > 1 else ""
    return f"WARNING: it rests on one seed{chosen}; train it with more seeds before you rely on it."


def _front(ranking: Ranking) -> str:
    return f"Best trade-offs of top-1 and images/s: {_names(ranking.front)}." if ranking.front else ""


def _unfinished_seeds(ranking: Ranking) -> str:
    best = ranking.best
    if best is None or best.n == best.trials:
        return ""
    return (
        f"{best.name} is ranked on {best.n} of {best.trials} seeds ({best.ended}). "
        "If the others were left out for doing badly, its score is optimistic."
    )


def _finalists(ranking: Ranking) -> str:
    """The seed by which a finalist was chosen is high by choice; its other seeds are not."""
    trials = [point.trials for point in (*ranking.points, *ranking.rest)]
    best = ranking.best
    if best is None or min(trials) == max(trials):
        return ""
    others = [score for score, seed in zip(best.scores, best.seeds, strict=True) if seed]
    without = f": without it {best.name} has {100 * fmean(others):.2f}%" if others else ""
    return (
        f"Not all points got {max(trials)} seeds; those with several stand first. Where the first seed chose them, "
        f"it is optimistic{without}."
    )


def _selected(ranking: Ranking) -> str:
    """What its being chosen has done to the best's score, where others were close."""
    best, tried = ranking.best, len(ranking.points) + len(ranking.rest)
    if best is None or len(ranking.contenders) < 2:
        return ""
    chosen = f"Chosen among {tried} points by these images, {best.name} looks better than it is"
    if ranking.expected is not None:
        if round(100 * (best.mean - ranking.expected), 2) <= 0:
            return ""
        chosen += f": top-1 of about {100 * ranking.expected:.2f}% is to be expected on new ones (bootstrap)"
    return f"{chosen}. Another seed of it, and images that chose nothing (a test split), measure it afresh."


def _small_set(ranking: Ranking) -> str:
    """Where the tests over images cannot say it."""
    best = ranking.best
    if best is None or ranking.lead is None or ranking.lead >= best.sampling_error or ranking.points[1].images_best:
        return ""
    return (
        f"{ranking.val_samples:,} validation images measure a score with a standard error of "
        f"{100 * best.sampling_error:.2f} points, more than the lead. All points saw the same images; on others "
        "their order may differ."
    )


def _untested(ranking: Ranking) -> str:
    if not ranking.untested:
        return ""
    names = ", ".join(ranking.untested[:NAMED])
    more = f" and {len(ranking.untested) - NAMED} more" if len(ranking.untested) > NAMED else ""
    return (
        f"What was said of each image is not known of {names}{more} (their probabilities are not there): no test over "
        "images has them."
    )


def _pbt(ranking: Ranking) -> str:
    if not ranking.changed:
        return ""
    return (
        "Values changed on the way (PBT): those shown are where each trial started. Trials went on from each other's "
        "weights, so they are not independent, and p may be too small."
    )


def _waiting(ranking: Ranking) -> str:
    waiting = ranking.tally.waiting
    return f"{waiting} trial{'s have' if waiting > 1 else ' has'} not ended yet: this may change." if waiting else ""
