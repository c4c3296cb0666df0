"""Scores of the paper's table from the members' probabilities, in one pass over them, on several threads.

Probabilities are averaged over crops and models. The two alternatives the paper tried and left are scored beside it:
the largest over crops instead of their mean (averaged over models), and classifiers averaged first (the models' mean
for each crop, then the largest over crops). Where not every crop's probabilities were kept, an alternative that needs
them is left out.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from platform.config.evaluation import TOP
from platform.evaluation.images import ImageResults
from platform.evaluation.metrics import Scores
from platform.evaluation.probabilities import MemberProbabilities
from platform.evaluation.summary import Summary
from platform.evaluation.table import EnsembleScores
from platform.packing.threads import Threads

MAX_OVER_CROPS = "max over crops"
MODELS_FIRST = "max over crops of the models' mean"
CHUNK = 256  # samples in memory at a time, where they are small
IN_MEMORY = 2**30  # bytes of probabilities at a time, of all threads together; what is made of them is as much again
MOST_THREADS = 8

Members = dict[str, MemberProbabilities]


def score(
    members: Members, view_counts: list[int], chunk: int | None = None, threads: int | None = None
) -> EnsembleScores:
    """Score every member and the ensemble at every number of views, reading each probability once. The result is the
    same to the last bit, however many threads there are.

    Args:
        members: name -> probabilities, all of the same samples.
        view_counts: numbers of views, each a prefix of the stored ones.
        chunk: samples in memory at a time, in each thread; None: 256, and fewer where they would be more than a GB.
        threads: that read and score; None: as many as PyTorch has.

    Raises:
        ValueError: members evaluated on different samples, or without such views.
    """
    names = list(members)
    first = members[names[0]]
    for name, member in members.items():
        same = member.samples == first.samples and torch.equal(member.labels_N, first.labels_N)
        if not same:
            raise ValueError(f"{name} was not evaluated like {names[0]}; evaluate it again with job=evaluate")
        try:
            member.require(view_counts)
        except ValueError as error:
            raise ValueError(
                f"{name} was not evaluated like this: {error}; evaluate it again with job=evaluate"
            ) from error
    threads = threads or max(1, min(MOST_THREADS, torch.get_num_threads()))
    chunk = chunk or chunk_of(members, max(view_counts), threads)
    valid_N = torch.stack([member.valid_N for member in members.values()]).all(0)
    images = ImageResults(names, view_counts, first.labels_N.numpy().astype(np.int32), valid_N.numpy())
    result = _nothing(members, view_counts)

    def scored(start: int) -> EnsembleScores:
        stop = min(start + chunk, first.samples)
        block = _read(members, view_counts, start, stop)
        return _scored(block, _nothing(members, view_counts), images, start, first.labels_N[start:stop])

    starts = range(0, first.samples, chunk)
    for part in _in_order(scored, starts, min(threads, len(starts))):
        _add(result, part)
    result.samples, result.left_out = first.samples, left_out(members, view_counts)
    result.images, result.summary = images, Summary.of(images, result.ensemble, result.alternatives)
    return result


def chunk_of(members: Members, views: int, threads: int) -> int:
    """How many samples each thread may have in memory, so that all of them together stay within `IN_MEMORY`."""
    planes = max(views if member.has_every_view else member.stored.planes(views) for member in members.values())
    classes = max(member.classes for member in members.values())
    return max(1, min(CHUNK, IN_MEMORY // (threads * len(members) * planes * classes * 4)))


def left_out(members: Members, view_counts: list[int]) -> list[str]:
    """What is not in the table, or only about right, as not all probabilities were kept."""
    keeps = sorted({member.stored.keep for member in members.values() if not member.has_every_view})
    if not keeps:
        return []
    kept, found = f"evaluation.keep={', '.join(keeps)}", []
    lacking = [note for note in (MAX_OVER_CROPS, MODELS_FIRST) if note not in _alternatives(members, view_counts)]
    if lacking and max(view_counts) > 1 and (len(members) > 1 or MAX_OVER_CROPS in lacking):
        found.append(f"Not in the table: {', '.join(lacking)}, which every crop is needed for ({kept}).")
    if TOP in keeps:
        most = min(member.stored.top for member in members.values() if member.stored.top)
        found.append(
            f"Of each mean the {most} largest classes were kept ({kept}): Brier scores, and classes and errors of "
            "the ensemble, are approximate; members' errors and losses are not."
        )
    return found


@dataclass(frozen=True)
class _Block:
    """What is scored of some samples."""

    means: dict[int, Tensor]  # number of views -> [M, N, K]
    largest: dict[str, Tensor]  # alternative -> [N, K]


def _alternatives(members: Members, view_counts: list[int]) -> list[str]:
    """Those that can be had of what is kept."""
    most = max(view_counts)
    if all(member.has_every_view for member in members.values()):
        return [MAX_OVER_CROPS, MODELS_FIRST]
    of_most = all(member.has_every_view or member.views == most for member in members.values())
    return [MAX_OVER_CROPS] if of_most else []


def _nothing(members: Members, view_counts: list[int]) -> EnsembleScores:
    result = EnsembleScores(list(members), 0)
    result.members = {name: {views: Scores() for views in view_counts} for name in members}
    result.ensemble = {views: Scores() for views in view_counts}
    result.alternatives = {note: Scores() for note in _alternatives(members, view_counts)}
    return result


def _read(members: Members, view_counts: list[int], start: int, stop: int) -> _Block:
    if not all(member.has_every_view for member in members.values()):
        return _read_planes(members, view_counts, start, stop)
    most, classes = max(view_counts), next(iter(members.values())).classes
    probs_MNVK = torch.empty(len(members), stop - start, most, classes)
    for place, member in enumerate(members.values()):
        probs_MNVK[place] = member.read(start, stop, most)
    means = {views: probs_MNVK[:, :, :views].mean(2) for views in view_counts}
    return _Block(means, {MAX_OVER_CROPS: probs_MNVK.amax(2).mean(0), MODELS_FIRST: probs_MNVK.mean(0).amax(1)})


def _read_planes(members: Members, view_counts: list[int], start: int, stop: int) -> _Block:
    """The same of members of which some have no more than means."""
    most, means, largest = max(view_counts), {views: [] for views in view_counts}, []
    for member in members.values():
        if member.has_every_view:
            probs_NVK = member.read(start, stop, most)
            own, most_NK = {views: probs_NVK[:, :views].mean(1) for views in view_counts}, probs_NVK.amax(1)
        else:
            own, most_NK = member.planes(start, stop)
        for views in view_counts:
            means[views].append(own[views])
        largest.append(most_NK)
    alternatives = {note: torch.stack(largest).mean(0) for note in _alternatives(members, view_counts)}
    return _Block({views: torch.stack(each) for views, each in means.items()}, alternatives)


def _scored(block: _Block, found: EnsembleScores, images: ImageResults, start: int, labels: Tensor) -> EnsembleScores:
    """The sums over a block, in `found`; what was said of each of its images goes to `images`."""
    valid = torch.from_numpy(images.valid_N[start : start + len(labels)])
    for place, (views, means_MNK) in enumerate(block.means.items()):
        images.add_hits(place, start, means_MNK)
        if views == images.views:
            images.add(start, means_MNK)
        for name, mean_NK in zip(found.names, means_MNK, strict=True):
            found.members[name][views] = Scores.of(mean_NK, labels, valid)
        found.ensemble[views] = Scores.of(means_MNK.mean(0), labels, valid)
    for note, largest_NK in block.largest.items():
        found.alternatives[note] = Scores.of(largest_NK, labels, valid)
    return found


def _add(result: EnsembleScores, part: EnsembleScores) -> None:
    for name, by_views in part.members.items():
        for views, scores in by_views.items():
            result.members[name][views] += scores
    for views, scores in part.ensemble.items():
        result.ensemble[views] += scores
    for note, scores in part.alternatives.items():
        result.alternatives[note] += scores


def _in_order(scored: Callable[[int], EnsembleScores], starts: range, threads: int) -> Iterator[EnsembleScores]:
    """The parts in the order of their samples, as the last bits of a sum depend on that; each is a few numbers."""
    if threads < 2:
        yield from map(scored, starts)
        return
    parts: dict[int, EnsembleScores] = {}
    for number, part in Threads(scored, threads, "scoring").results(starts, ahead=2 * threads):
        parts[number] = part
    yield from (parts[number] for number in range(len(starts)))
