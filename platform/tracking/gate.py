"""The gate of the registry: whether a newcomer is better than the champion beyond noise, on the same images.

In: what both said of every image. Out: the alias that the newcomer gets, and a sentence that says why. Pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from platform.evaluation.images import ImageResults, same_images
from platform.evaluation.statistics.paired import holm, paired
from platform.evaluation.verdict import comparing

CHAMPION, CHALLENGER = "champion", "challenger"  # aliases
FIRST = "There was nothing to compare it with: no version was champion."


@dataclass(frozen=True)
class Contender:
    """The newcomer or the champion: the ensemble, or a single network."""

    label: str  # for people
    images: ImageResults | None  # None: not known
    data: str = ""  # what the validation images are, with their digest; empty: not known
    missing: str = ""  # why there are no images
    tried: int = 1  # among how many it was chosen by these images


@dataclass(frozen=True)
class Decision:
    """What the gate decides."""

    alias: str
    said: str
    p: float | None = None  # before it is corrected for `earlier`; None: nothing was compared


def decide(newcomer: Contender, champion: Contender | None, earlier: Sequence[float]) -> Decision:
    """Decide which alias the newcomer gets: champion only if it is better than the champion beyond noise.

    Args:
        newcomer: with its images.
        champion: None: there is none.
        earlier: p of the other versions that were compared with this champion: of twenty that are no better, one has
            a p below 0.05, so that all are corrected together (Holm). So is one that was chosen among several by these
            images: its p is multiplied by their number before.
    """
    if champion is None:
        return Decision(CHAMPION, FIRST)
    if reason := _not_comparable(newcomer, champion):
        return Decision(CHALLENGER, f"It is not compared with the champion {champion.label}: {reason}.")
    assert newcomer.images
    assert champion.images
    views = _common_views(newcomer.images, champion.images)[-1]
    valid_N = newcomer.images.valid_N & champion.images.valid_N
    new_N, old_N = (each.images.ensemble_right_N(views) for each in (newcomer, champion) if each.images)
    assert new_N is not None
    assert old_N is not None
    found = paired(new_N[valid_N], old_N[valid_N])
    p = min(1.0, newcomer.tried * found.p)
    found = replace(found, p_holm=holm([p, *earlier])[0])
    crops = f"with {views} crop{'s' * (views > 1)}"
    said = comparing(newcomer.label, f"the champion {champion.label}", found, crops)
    count = f"On {found.samples:,} images that both could read{_correction(len(earlier), newcomer.tried)}."
    is_better = found.is_significant and found.difference > 0
    return Decision(CHAMPION if is_better else CHALLENGER, f"{said} {count}", p)


def _correction(earlier: int, tried: int) -> str:
    others = f"{earlier} other version{'s' * (earlier > 1)} compared with the same champion"
    reasons = [f"the {tried} trials of the sweep that it is the best of"] if tried > 1 else []
    reasons += [others] if earlier else []
    return f"; p is corrected (Holm) for {' and '.join(reasons)}" if reasons else ""


def _not_comparable(newcomer: Contender, champion: Contender) -> str:
    """Why the two cannot be compared; empty: they can."""
    for each in (newcomer, champion):
        if each.images is None:
            return each.missing
    assert newcomer.images
    assert champion.images
    if newcomer.data and champion.data and newcomer.data != champion.data:
        return f"the validation images are others ({champion.data} there, {newcomer.data} here)"
    if not same_images([newcomer.images, champion.images]):
        counts = f"{len(champion.images.labels_N):,} there, {len(newcomer.images.labels_N):,} here"
        return f"the labels of the validation images are others (images: {counts})"
    if not (newcomer.images.valid_N & champion.images.valid_N).any():
        return "there is no image that both could read"
    if not _common_views(newcomer.images, champion.images):
        here, there = (_numbers(each) for each in (newcomer.images, champion.images))
        return f"they have no number of crops in common ({there} there, {here} here); job=evaluate makes more"
    return ""


def _common_views(first: ImageResults, second: ImageResults) -> list[int]:
    """Numbers of views with which both are known, rising."""
    return sorted(set(_known(first)) & set(_known(second)))


def _known(images: ImageResults) -> list[int]:
    return [views for views in images.view_counts if images.ensemble_right_N(views) is not None]


def _numbers(images: ImageResults) -> str:
    return " and ".join(map(str, _known(images)))
