"""Scores of the paper's table from the members' probabilities, in one pass over them: on several threads, in several
processes, or on the nodes of a cluster.

Probabilities are averaged over crops and models. The two alternatives the paper tried and left are scored beside it:
the largest over crops instead of their mean (averaged over models), and classifiers averaged first (the models' mean
for each crop, then the largest over crops). Where not every crop's probabilities were kept, an alternative that needs
them is left out.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch

from platform.config.evaluation import TOP
from platform.evaluation.blocks import (
    MAX_OVER_CROPS,
    MODELS_FIRST,
    Members,
    Part,
    Task,
    add,
    alternatives_of,
    block_of,
    nothing,
    part_of,
    tasks_of,
)
from platform.evaluation.images import ImageResults
from platform.evaluation.summary import Summary
from platform.evaluation.table import EnsembleScores
from platform.packing.threads import Threads

MOST_THREADS = 8
WORTH_SPREADING = 4 * 10**9  # bytes on disk: about 25 CPU-seconds; other processes take seconds to start

Spread = Callable[[list[Task]], Iterable[list[Part]]]  # has other processes score; in any order, each block once


def score(
    members: Members,
    view_counts: list[int],
    chunk: int | None = None,
    threads: int | None = None,
    spread: Spread | None = None,
) -> EnsembleScores:
    """Score every member and the ensemble at every number of views, reading each probability once. The result is the
    same to the last bit, however many threads, processes or nodes of one kind of CPU there are.

    Args:
        members: name -> probabilities, all of the same samples.
        view_counts: numbers of views, each a prefix of the stored ones.
        chunk: samples of a block; None: what fits into 64 MB, 256 at most.
        threads: that read and score; None: as many as PyTorch has, eight at most.
        spread: scores in other processes where there is much to read; None: none does.

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
    chunk = chunk or block_of(members, max(view_counts))
    valid_N = torch.stack([member.valid_N for member in members.values()]).all(0)
    images = ImageResults(names, view_counts, first.labels_N.numpy().astype(np.int32), valid_N.numpy())
    starts = range(0, first.samples, chunk)
    if spread and sum(member.bytes for member in members.values()) >= WORTH_SPREADING:
        parts = (part for some in spread(tasks_of(members, view_counts, chunk)) for part in some)
    else:
        threads = threads or max(1, min(MOST_THREADS, torch.get_num_threads()))
        parts = _on_threads(members, view_counts, starts, min(threads, len(starts)))
    result = _merged(parts, starts, nothing(members, view_counts), images)
    result.samples, result.left_out = first.samples, left_out(members, view_counts)
    result.images, result.summary = images, Summary.of(images, result.ensemble, result.alternatives)
    return result


def left_out(members: Members, view_counts: list[int]) -> list[str]:
    """What is not in the table, or only about right, as not all probabilities were kept."""
    keeps = sorted({member.stored.keep for member in members.values() if not member.has_every_view})
    if not keeps:
        return []
    kept, found = f"evaluation.keep={', '.join(keeps)}", []
    lacking = [note for note in (MAX_OVER_CROPS, MODELS_FIRST) if note not in alternatives_of(members, view_counts)]
    if lacking and max(view_counts) > 1 and (len(members) > 1 or MAX_OVER_CROPS in lacking):
        found.append(f"Not in the table: {', '.join(lacking)}, which every crop is needed for ({kept}).")
    if TOP in keeps:
        most = min(member.stored.top for member in members.values() if member.stored.top)
        found.append(
            f"Of each mean the {most} largest classes were kept ({kept}): Brier scores, and classes and errors of "
            "the ensemble, are approximate; members' errors and losses are not."
        )
    return found


def _merged(
    parts: Iterable[Part], starts: Iterable[int], result: EnsembleScores, images: ImageResults
) -> EnsembleScores:
    """The sums of all parts in the order of their samples, as the last bits of a sum depend on that; what is said of
    each image goes to `images`."""
    sums: dict[int, EnsembleScores] = {}
    for part in parts:
        assert part.start not in sums, "each block is scored once"
        sums[part.start] = part.sums
        images.take(part.start, part.images)
    for start in starts:
        add(result, sums[start])
    return result


def _on_threads(members: Members, view_counts: list[int], starts: range, threads: int) -> Iterator[Part]:
    """The parts, in any order."""

    def scored(start: int) -> Part:
        return part_of(members, view_counts, start, min(start + starts.step, next(iter(members.values())).samples))

    if threads < 2:
        yield from map(scored, starts)
        return
    for _, part in Threads(scored, threads, "scoring").results(starts, ahead=2 * threads):
        yield part
