"""Scores of the paper's table from the members' probabilities, in one pass over them.

Probabilities are averaged over crops and models. The two alternatives the paper tried and left are scored beside it:
the largest over crops instead of their mean (averaged over models), and classifiers averaged first (the models' mean
for each crop, then the largest over crops).
"""

import numpy as np
import torch

from platform.evaluation.images import ImageResults
from platform.evaluation.metrics import Scores
from platform.evaluation.probabilities import MemberProbabilities
from platform.evaluation.summary import Summary
from platform.evaluation.table import EnsembleScores

MAX_OVER_CROPS = "max over crops"
MODELS_FIRST = "max over crops of the models' mean"


def score(members: dict[str, MemberProbabilities], view_counts: list[int], chunk: int = 256) -> EnsembleScores:
    """Score every member and the ensemble at every number of views, reading each probability once.

    Args:
        members: name -> probabilities, all of the same samples.
        view_counts: numbers of views, each a prefix of the stored ones.
        chunk: samples in memory at a time.

    Raises:
        ValueError: members evaluated on different samples or with fewer views.
    """
    names = list(members)
    first = members[names[0]]
    for name, member in members.items():
        same = member.samples == first.samples and torch.equal(member.labels_N, first.labels_N)
        if not same or member.views < max(view_counts):
            raise ValueError(f"{name} was not evaluated like {names[0]}; evaluate it again with job=evaluate")
    result = EnsembleScores(names, first.samples)
    result.members = {name: {views: Scores() for views in view_counts} for name in names}
    result.ensemble = {views: Scores() for views in view_counts}
    result.alternatives = {MAX_OVER_CROPS: Scores(), MODELS_FIRST: Scores()}
    valid_N = torch.stack([member.valid_N for member in members.values()]).all(0)
    images = ImageResults(names, view_counts, first.labels_N.numpy().astype(np.int32), valid_N.numpy())
    for start in range(0, first.samples, chunk):
        stop = min(start + chunk, first.samples)
        labels, valid = first.labels_N[start:stop], valid_N[start:stop]
        probs_MNVK = torch.stack([member.read(start, stop) for member in members.values()])
        for place, views in enumerate(view_counts):
            means_MNK = probs_MNVK[:, :, :views].mean(2)
            images.add_hits(place, start, means_MNK)
            if views == images.views:
                images.add(start, means_MNK)
            for name, mean_NK in zip(names, means_MNK, strict=True):
                result.members[name][views] += Scores.of(mean_NK, labels, valid)
            result.ensemble[views] += Scores.of(means_MNK.mean(0), labels, valid)
        largest = probs_MNVK[:, :, : max(view_counts)]
        result.alternatives[MAX_OVER_CROPS] += Scores.of(largest.amax(2).mean(0), labels, valid)
        result.alternatives[MODELS_FIRST] += Scores.of(largest.mean(0).amax(1), labels, valid)
    result.images, result.summary = images, Summary.of(images, result.ensemble, result.alternatives)
    return result
