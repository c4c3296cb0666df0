"""Other means of the members' probabilities than the plain one, chosen on one half of the images for the other.

In: each member's probabilities of every image, means over its crops. Out: for each way the probabilities of every
image, by weights or a temperature that have not seen it: chosen on one half and used on the other, both ways.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from platform.evaluation.selection import best_addition, merit
from platform.evaluation.statistics.calibration import LEAST
from platform.evaluation.statistics.halves import selecting_half

WEIGHTED, GREEDY, TEMPERATURE = "weighted", "greedy", "temperature"
ITERATIONS = 500  # of EM, at most
CHANGE = 1e-7  # of a weight, below which EM ends
ROUNDS = 20  # of greedy selection
UNUSED = 0.005  # a weight below it: the network can be left out
TEMPERATURES = (0.05, 20.0)  # between which one is sought

Chosen = tuple[list[float], Callable[[Tensor], Tensor]]  # weights, and what makes [M, N, K] to [N, K]


@dataclass(frozen=True)
class Blend:
    """One way."""

    name: str
    probs_NK: Tensor
    networks: int  # that are needed
    said: str  # what was chosen, the mean of both halves


def blends(means_MNK: Tensor, labels_N: Tensor, valid_N: Tensor, names: list[str]) -> list[Blend]:
    """All of them; of a single member only the temperature.

    Args:
        means_MNK: float32.
        labels_N: int64.
        valid_N: false for corrupt images, by which nothing is chosen.
        names: of the members.
    """
    half_N = torch.from_numpy(selecting_half(len(labels_N)))
    halves = [half_N, ~half_N]

    def both_ways(choose: Callable[[Tensor, Tensor], Chosen]) -> tuple[Tensor, list[list[float]]]:
        probs_NK, chosen = torch.empty_like(means_MNK[0]), []
        for selecting_N in halves:
            kept_N = selecting_N & valid_N
            numbers, blend = choose(means_MNK[:, kept_N], labels_N[kept_N])
            probs_NK[~selecting_N] = blend(means_MNK[:, ~selecting_N])
            chosen.append(numbers)
        return probs_NK, chosen

    found = []
    for name, choose in ((WEIGHTED, _weighted), (GREEDY, _greedy)) if len(names) > 1 else ():
        probs_NK, chosen = both_ways(choose)
        needed = max(sum(weight > UNUSED for weight in weights) for weights in chosen)
        means = [sum(each) / 2 for each in zip(*chosen, strict=True)]
        said = ", ".join(f"{member} {weight:.2f}" for member, weight in zip(names, means, strict=True))
        found.append(Blend(name, probs_NK, needed, f"{name}: {said}"))
    probs_NK, chosen = both_ways(_tempered)
    said = " and ".join(f"{each:.2f}" for (each,) in chosen)
    return [*found, Blend(TEMPERATURE, probs_NK, len(names), f"{TEMPERATURE}: {said} of the halves")]


def _averaging(weights_M: Tensor) -> Chosen:
    return weights_M.tolist(), lambda means_MNK: torch.einsum("m,mnk->nk", weights_M.to(means_MNK.dtype), means_MNK)


def _weighted(means_MNK: Tensor, labels_N: Tensor) -> Chosen:
    return _averaging(mixture_weights(_of_labels(means_MNK, labels_N)))


def mixture_weights(label_probs_MN: Tensor) -> Tensor:
    """The weights with which the members' mean has the highest likelihood, `[M]` float64: not negative, their sum is 1.

    By the EM algorithm for the weights of a mixture (Dempster, Laird and Rubin 1977), from equal ones. The likelihood
    is concave in them, so there is one maximum.

    Args:
        label_probs_MN: what each member gives to each image's label.
    """
    probs = label_probs_MN.double().clamp_min(LEAST)
    weights = torch.full((len(probs),), 1 / len(probs), dtype=torch.float64)
    for _ in range(ITERATIONS if probs.shape[1] else 0):
        shares_MN = weights[:, None] * probs
        better = (shares_MN / shares_MN.sum(0)).mean(1)
        done, weights = bool((better - weights).abs().max() < CHANGE), better
        if done:
            break
    return weights


def _greedy(means_MNK: Tensor, labels_N: Tensor) -> Chosen:
    """Forward selection with replacement (Caruana et al. 2004, "Ensemble selection from libraries of models", section
    2): again and again the member with which the mean has the best top-1, of equal ones the lowest loss, then the
    first. Of all rounds the best one by the same rule; a member's weight is its share of the additions."""
    members, everything_N = dict(enumerate(means_MNK)), torch.ones(len(labels_N), dtype=torch.bool)
    counts = torch.zeros(len(means_MNK), dtype=torch.float64)
    best_merit, best_counts, sum_NK = (-1, -math.inf), counts + 1, torch.zeros_like(means_MNK[0])
    for _ in range(ROUNDS if len(labels_N) else 0):
        added, scores = best_addition(sum_NK, members, labels_N, everything_N)
        counts[added] += 1
        sum_NK = sum_NK + means_MNK[added]
        if merit(scores) > best_merit:
            best_merit, best_counts = merit(scores), counts.clone()
    return _averaging(best_counts / best_counts.sum())


def _tempered(means_MNK: Tensor, labels_N: Tensor) -> Chosen:
    temperature = best_temperature(means_MNK.mean(0), labels_N)
    return [temperature], lambda others_MNK: tempered(others_MNK.mean(0), temperature)


def tempered(probs_NK: Tensor, temperature: float) -> Tensor:
    """Probabilities whose logarithms are divided by a temperature: above 1 less sure, the same class on top."""
    return (probs_NK.clamp_min(LEAST).log() / temperature).softmax(1)


def best_temperature(probs_NK: Tensor, labels_N: Tensor) -> float:
    """The temperature with the lowest NLL (Guo et al. 2017, "On calibration of modern neural networks", section 4.2)
    between 0.05 and 20; of no images 1."""
    if not len(labels_N):
        return 1.0
    from scipy.optimize import minimize_scalar

    logs_NK = probs_NK.clamp_min(LEAST).log().double()

    def nll(log_temperature: float) -> float:
        scaled = logs_NK / math.exp(log_temperature)
        return float((scaled.logsumexp(1) - scaled.gather(1, labels_N[:, None])[:, 0]).mean())

    bounds = tuple(map(math.log, TEMPERATURES))
    return math.exp(float(minimize_scalar(nll, bounds=bounds, method="bounded").x))  # pyright: ignore[reportAttributeAccessIssue]


def _of_labels(means_MNK: Tensor, labels_N: Tensor) -> Tensor:
    """`[M, N]`: what each member gives to the label."""
    return means_MNK.gather(2, labels_N[None, :, None].expand(len(means_MNK), -1, 1))[:, :, 0]
