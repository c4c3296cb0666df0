"""Blocks of images, which are scored one by one, by whichever thread, process or machine: their sums, and what is said
of each image.

In: members' probabilities, and which images. Out: a part of the scores. How large a block is depends on the members
and classes alone: the last bits of a sum depend on it.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from platform.evaluation.images import ImageResults
from platform.evaluation.metrics import Scores
from platform.evaluation.probabilities import MemberProbabilities
from platform.evaluation.table import EnsembleScores

MAX_OVER_CROPS = "max over crops"
MODELS_FIRST = "max over crops of the models' mean"
MOST_IMAGES = 256  # of a block, where they are small
BLOCK_BYTES = 2**26  # of its probabilities; what is made of them is as much again
TASK_BYTES = 10**9  # on disk, of what another process is asked for at a time

Members = dict[str, MemberProbabilities]


@dataclass(frozen=True)
class Part:
    """What a block gives."""

    start: int  # number of its first image
    sums: EnsembleScores
    images: ImageResults  # of its images alone


@dataclass(frozen=True)
class Task:
    """Blocks that follow each other, for a process that has nothing open."""

    members: dict[str, Path]  # name -> folder of probabilities
    view_counts: list[int]
    start: int
    stop: int
    block: int  # images of each

    @property
    def blocks(self) -> range:
        """The first images of its blocks."""
        return range(self.start, self.stop, self.block)


def block_of(members: Members, views: int) -> int:
    """How many images a block has."""
    planes = max(views if member.has_every_view else member.stored.planes(views) for member in members.values())
    classes = max(member.classes for member in members.values())
    return max(1, min(MOST_IMAGES, BLOCK_BYTES // (len(members) * planes * classes * 4)))


def tasks_of(members: Members, view_counts: list[int], block: int) -> list[Task]:
    """All blocks, so many together that a task reads about `TASK_BYTES`."""
    samples = next(iter(members.values())).samples
    each = sum(member.bytes for member in members.values()) / max(samples, 1) * block
    step = block * max(1, int(TASK_BYTES // max(each, 1)))
    folders = {name: member.folder.absolute() for name, member in members.items()}
    return [Task(folders, view_counts, start, min(start + step, samples), block) for start in range(0, samples, step)]


def parts_of(task: Task) -> list[Part]:
    """Score the blocks of a task, one after another.

    Raises:
        OSError: or another of `platform.evaluation.kept.DAMAGE`: probabilities are missing or damaged.
    """
    members = {name: MemberProbabilities(folder) for name, folder in task.members.items()}
    return [part_of(members, task.view_counts, start, min(start + task.block, task.stop)) for start in task.blocks]


def part_of(members: Members, view_counts: list[int], start: int, stop: int) -> Part:
    """Score the images from `start` to before `stop`."""
    labels = next(iter(members.values())).labels_N[start:stop]
    valid = torch.stack([member.valid_N[start:stop] for member in members.values()]).all(0)
    images = ImageResults(list(members), view_counts, labels.numpy().astype(np.int32), valid.numpy())
    block, found = _read(members, view_counts, start, stop), nothing(members, view_counts)
    for place, (views, means_MNK) in enumerate(block.means.items()):
        images.add_hits(place, 0, means_MNK)
        if views == images.views:
            images.add(0, means_MNK)
        for name, mean_NK in zip(found.names, means_MNK, strict=True):
            found.members[name][views] = Scores.of(mean_NK, labels, valid)
        found.ensemble[views] = Scores.of(means_MNK.mean(0), labels, valid)
    for note, largest_NK in block.largest.items():
        found.alternatives[note] = Scores.of(largest_NK, labels, valid)
    return Part(start, found, images)


def add(result: EnsembleScores, part: EnsembleScores) -> None:
    """Add the sums of a block."""
    for name, by_views in part.members.items():
        for views, scores in by_views.items():
            result.members[name][views] += scores
    for views, scores in part.ensemble.items():
        result.ensemble[views] += scores
    for note, scores in part.alternatives.items():
        result.alternatives[note] += scores


def alternatives_of(members: Members, view_counts: list[int]) -> list[str]:
    """The alternatives that can be had of what is kept."""
    most = max(view_counts)
    if all(member.has_every_view for member in members.values()):
        return [MAX_OVER_CROPS, MODELS_FIRST]
    of_most = all(member.has_every_view or member.views == most for member in members.values())
    return [MAX_OVER_CROPS] if of_most else []


def nothing(members: Members, view_counts: list[int]) -> EnsembleScores:
    """Scores of no images."""
    result = EnsembleScores(list(members), 0)
    result.members = {name: {views: Scores() for views in view_counts} for name in members}
    result.ensemble = {views: Scores() for views in view_counts}
    result.alternatives = {note: Scores() for note in alternatives_of(members, view_counts)}
    return result


@dataclass(frozen=True)
class _Block:
    """What is scored of some samples."""

    means: dict[int, Tensor]  # number of views -> [M, N, K]
    largest: dict[str, Tensor]  # alternative -> [N, K]


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
    alternatives = {note: torch.stack(largest).mean(0) for note in alternatives_of(members, view_counts)}
    return _Block({views: torch.stack(each) for views, each in means.items()}, alternatives)
