"""Blends against hand numbers and direct computations; no image is scored by what it has chosen."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from platform.evaluation.blends import (
    GREEDY,
    TEMPERATURE,
    WEIGHTED,
    best_temperature,
    blends,
    mixture_weights,
    tempered,
)
from platform.evaluation.statistics.halves import selecting_half

N, K = 400, 4
NAMES = ["good", "other", "noise"]


@pytest.fixture(scope="module")
def labels() -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, K, N))


@pytest.fixture(scope="module")
def means(labels: Tensor) -> Tensor:
    """Two members that are good at different images, and one that knows nothing and is sure of it."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(3, N, K, generator=generator)
    own = torch.nn.functional.one_hot(labels, K)
    logits[0, : N // 2] += 3.0 * own[: N // 2]
    logits[1, N // 2 :] += 2.5 * own[N // 2 :]
    logits[2] *= 4
    return logits.softmax(-1)


def everything() -> Tensor:
    return torch.ones(N, dtype=torch.bool)


def test_mixture_weights_have_the_highest_likelihood(means: Tensor, labels: Tensor):
    probs = means.gather(2, labels[None, :, None].expand(3, -1, 1))[:, :, 0].double()
    weights = mixture_weights(probs)
    assert weights.sum() == pytest.approx(1)

    def nll(raw: np.ndarray) -> float:
        shares = np.exp(raw) / np.exp(raw).sum()
        return -float(np.log(shares @ probs.numpy()).mean())

    best = minimize(nll, np.zeros(3), method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-12, "maxiter": 5000})
    expected = np.exp(best.x) / np.exp(best.x).sum()
    np.testing.assert_allclose(weights, expected, atol=2e-3)
    assert -float((weights @ probs).log().mean()) == pytest.approx(best.fun, abs=1e-6)


def test_mixture_weights_by_hand():
    """Of 4 images one member is sure of 3 and the other of 1: w = 3/4."""
    assert mixture_weights(torch.tensor([[1.0, 1, 1, 0], [0, 0, 0, 1]])).tolist() == pytest.approx([0.75, 0.25])
    assert mixture_weights(torch.empty(2, 0)).tolist() == [0.5, 0.5]


def test_weights_and_members_that_help_are_found(means: Tensor, labels: Tensor):
    found = {each.name: each for each in blends(means, labels, everything(), NAMES)}
    plain = accuracy(means.mean(0), labels)
    assert list(found) == [WEIGHTED, GREEDY, TEMPERATURE]
    for name in (WEIGHTED, GREEDY):
        assert accuracy(found[name].probs_NK, labels) > plain + 0.02
        assert found[name].networks <= 3
        torch.testing.assert_close(found[name].probs_NK.sum(1), torch.ones(N))
    assert accuracy(found[TEMPERATURE].probs_NK, labels) == plain
    assert nll(found[TEMPERATURE].probs_NK, labels) < nll(means.mean(0), labels)
    assert found[WEIGHTED].said.startswith("weighted: good 0.")


def test_no_image_is_scored_by_what_it_has_chosen(means: Tensor, labels: Tensor):
    """Other labels of one half change what is chosen there, and so the other half's probabilities only."""
    half = torch.from_numpy(selecting_half(N))
    changed = torch.where(half, (labels + 1) % K, labels)
    before, after = (blends(means, each, everything(), NAMES) for each in (labels, changed))
    for one, other in zip(before, after, strict=True):
        assert torch.equal(one.probs_NK[half], other.probs_NK[half])
        assert not torch.allclose(one.probs_NK[~half], other.probs_NK[~half])


def test_corrupt_images_choose_nothing(means: Tensor, labels: Tensor):
    valid = torch.arange(N) % 5 != 0
    changed = torch.where(valid, labels, (labels + 1) % K)
    for one, other in zip(blends(means, labels, valid, NAMES), blends(means, changed, valid, NAMES), strict=True):
        assert torch.equal(one.probs_NK, other.probs_NK)


def test_greedy_adds_by_hand():
    """Two members that are right together and alone only on half each: one of each, half and half."""
    labels = torch.zeros(8, dtype=torch.int64)
    sure, unsure = [0.9, 0.1], [0.4, 0.6]
    a = torch.tensor([sure, sure, unsure, unsure] * 2)
    b = torch.tensor([unsure, unsure, sure, sure] * 2)
    junk = torch.tensor([[0.0, 1.0]] * 8)
    _, found, _ = blends(torch.stack([a, b, junk]), labels, torch.ones(8, dtype=torch.bool), ["a", "b", "c"])
    assert (found.name, found.networks) == (GREEDY, 2)
    assert accuracy(found.probs_NK, labels) == 1.0
    assert "c 0.00" in found.said


def test_a_single_member_has_a_temperature_only(means: Tensor, labels: Tensor):
    assert [each.name for each in blends(means[:1], labels, everything(), ["good"])] == [TEMPERATURE]


def test_the_temperature_that_made_them_is_found():
    """Labels drawn from the probabilities; these made sharper by a factor of 2.5."""
    generator = torch.Generator().manual_seed(0)
    true = torch.randn(20_000, 5, generator=generator).softmax(1)
    labels = torch.multinomial(true, 1, generator=generator)[:, 0]
    assert best_temperature(tempered(true, 1 / 2.5), labels) == pytest.approx(2.5, rel=0.05)
    assert best_temperature(true[:0], labels[:0]) == 1.0
    torch.testing.assert_close(tempered(torch.tensor([[0.8, 0.2]]), 0.5), torch.tensor([[0.64, 0.04]]) / 0.68)


def accuracy(probs_NK: Tensor, labels_N: Tensor) -> float:
    return float((probs_NK.argmax(1) == labels_N).float().mean())


def nll(probs_NK: Tensor, labels_N: Tensor) -> float:
    return float(-probs_NK.gather(1, labels_N[:, None]).log().mean())
