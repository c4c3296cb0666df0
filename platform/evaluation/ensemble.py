"""The paper's table from the members' probabilities: 1 and N models x 1, 10 and 144 crops, in one pass over them.

Probabilities are averaged over crops and models. The two alternatives the paper tried and left are scored beside it:
the largest over crops instead of their mean (averaged over models), and classifiers averaged first (the models' mean
for each crop, then the largest over crops).
"""

from dataclasses import dataclass, field

import torch

from platform.evaluation.metrics import Scores
from platform.evaluation.probabilities import MemberProbabilities

# GD, table of test errors: (models, crops) -> top-5 error on ImageNet's validation set.
PAPER_TOP5_ERROR = {
    (1, 1): 0.1007,
    (1, 10): 0.0915,
    (1, 144): 0.0789,
    (7, 1): 0.0809,
    (7, 10): 0.0762,
    (7, 144): 0.0667,
}
MAX_OVER_CROPS = "max over crops"
MODELS_FIRST = "max over crops of the models' mean"


@dataclass
class EnsembleScores:
    """What the table is made of; keys of the inner dicts are numbers of views."""

    names: list[str]
    samples: int
    members: dict[str, dict[int, Scores]] = field(default_factory=dict)
    ensemble: dict[int, Scores] = field(default_factory=dict)
    alternatives: dict[str, Scores] = field(default_factory=dict)  # at the largest number of views


def score(members: dict[str, MemberProbabilities], view_counts: list[int], chunk: int = 256) -> EnsembleScores:
    """Score every member and the ensemble at every number of views, reading each probability once.

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
    for start in range(0, first.samples, chunk):
        stop = min(start + chunk, first.samples)
        labels, valid = first.labels_N[start:stop], valid_N[start:stop]
        probs_MNVK = torch.stack([member.read(start, stop) for member in members.values()])
        for views in view_counts:
            means_MNK = probs_MNVK[:, :, :views].mean(2)
            for name, mean_NK in zip(names, means_MNK, strict=True):
                result.members[name][views] += Scores.of(mean_NK, labels, valid)
            result.ensemble[views] += Scores.of(means_MNK.mean(0), labels, valid)
        largest = probs_MNVK[:, :, : max(view_counts)]
        result.alternatives[MAX_OVER_CROPS] += Scores.of(largest.amax(2).mean(0), labels, valid)
        result.alternatives[MODELS_FIRST] += Scores.of(largest.mean(0).amax(1), labels, valid)
    return result


@dataclass(frozen=True)
class Row:
    """One line of the table. Errors are shares of the samples."""

    models: int
    crops: int
    note: str
    top1_error: float
    top5_error: float
    loss: float
    paper_top5_error: float | None

    @property
    def cost(self) -> int:
        """Forward passes for an image."""
        return self.models * self.crops


def rows(scores: EnsembleScores) -> list[Row]:
    """The table: single models (the members' mean), the ensemble, then the alternatives."""
    table = []
    for views in scores.ensemble:
        each = [member[views].rates() for member in scores.members.values()]
        mean = {key: sum(rates[key] for rates in each) / len(each) for key in each[0]}
        table.append(_row(1, views, "mean of the members" if len(each) > 1 else "", mean))
    if len(scores.names) > 1:
        table += [_row(len(scores.names), views, "", sums.rates()) for views, sums in scores.ensemble.items()]
    most = max(scores.ensemble)
    if most > 1:
        table += [_row(len(scores.names), most, note, sums.rates()) for note, sums in scores.alternatives.items()]
    return table


def _row(models: int, crops: int, note: str, rates: dict[str, float]) -> Row:
    paper = PAPER_TOP5_ERROR.get((models, crops)) if note in ("", "mean of the members") else None
    return Row(models, crops, note, 1 - rates["top1"], 1 - rates["top5"], rates["loss"], paper)
