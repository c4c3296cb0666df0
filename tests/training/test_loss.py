"""The loss of each sample against numbers by hand and PyTorch's own."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from platform.config.checks import ConfigError
from platform.config.loss import LossConfig
from platform.config.sections import Config
from platform.training.loss import losses, with_prior

LABELS = torch.tensor([2, 0, 1, 1])
U = [0.5, 0.3, 0.2]


def logits() -> Tensor:
    return torch.randn(4, 3, generator=torch.Generator().manual_seed(0)) * 3


def given(smoothing: float) -> LossConfig:
    return LossConfig(smoothing=smoothing, smoothing_over="given", distribution=U)


def test_plain_cross_entropy_is_pytorchs_to_the_bit() -> None:
    assert torch.equal(losses(logits(), LABELS, LossConfig()), F.cross_entropy(logits(), LABELS, reduction="none"))


@pytest.mark.parametrize("smoothing", [0.1, 0.5])
def test_uniform_smoothing_is_pytorchs(smoothing: float) -> None:
    expected = F.cross_entropy(logits(), LABELS, reduction="none", label_smoothing=smoothing)
    torch.testing.assert_close(losses(logits(), LABELS, LossConfig(smoothing=smoothing)), expected)


def test_smoothing_by_hand() -> None:
    """Softmax of log 1, 2, 5 is 1/8, 2/8, 5/8."""
    one = torch.tensor([[0.0, math.log(2), math.log(5)]])
    logs = [math.log(1 / 8), math.log(2 / 8), math.log(5 / 8)]
    label = torch.tensor([1])
    uniform = -(0.1 / 3 * logs[0] + (0.9 + 0.1 / 3) * logs[1] + 0.1 / 3 * logs[2])
    assert losses(one, label, LossConfig(smoothing=0.1)).item() == pytest.approx(uniform)
    over = -(0.2 * 0.5 * logs[0] + (0.8 + 0.2 * 0.3) * logs[1] + 0.2 * 0.2 * logs[2])
    assert losses(one, label, given(0.2)).item() == pytest.approx(over)


def test_smoothing_over_the_prior_by_hand() -> None:
    """Of eight training images four are of the first class, three of the second, none of the third, one of the last."""
    cfg = with_prior(LossConfig(smoothing=0.2, smoothing_over="prior"), np.array([0, 1, 0, 3, 1, 0, 1, 0]), 4)
    assert cfg.distribution == [4 / 8, 3 / 8, 0, 1 / 8]
    logs = [math.log(part / 10) for part in (1, 2, 3, 4)]
    by_hand = -(0.2 * 4 / 8 * logs[0] + 0.2 * 3 / 8 * logs[1] + 0.8 * logs[2] + 0.2 * 1 / 8 * logs[3])
    one = torch.tensor([[math.log(1), math.log(2), math.log(3), math.log(4)]])
    assert losses(one, torch.tensor([2]), cfg).item() == pytest.approx(by_hand)
    uniform = LossConfig(smoothing=0.2)
    assert with_prior(uniform, None, 4) is uniform


def test_binary_cross_entropy_of_a_mixed_image_smoothed_over_the_prior_by_hand() -> None:
    """Both classes of a mixed image count as present, then all targets are smoothed: 0.8 x 1 + 0.2 u(k)."""
    prior = with_prior(LossConfig("bce", 0.2, "prior", present_above=0.0), np.array([0, 0, 0, 1]), 3)
    shares = with_prior(LossConfig("bce", 0.2, "prior"), np.array([0, 0, 0, 1]), 3)
    one, mixed = torch.tensor([[0.0, math.log(3), math.log(1 / 4)]]), torch.tensor([[0.0, 0.7, 0.3]])
    yes = [math.log(1 / 2), math.log(3 / 4), math.log(1 / 5)]
    no = [math.log(1 / 2), math.log(1 / 4), math.log(4 / 5)]

    def of(targets: list[float]) -> float:
        return -sum(t * y + (1 - t) * n for t, y, n in zip(targets, yes, no, strict=True)) / 3

    assert losses(one, mixed, prior).item() == pytest.approx(of([0.2 * 0.75, 0.8 + 0.2 * 0.25, 0.8]))
    assert losses(one, mixed, shares).item() == pytest.approx(of([0.2 * 0.75, 0.8 * 0.7 + 0.2 * 0.25, 0.8 * 0.3]))


def test_soft_targets_are_weighted_labels() -> None:
    other = torch.tensor([0, 0, 2, 1])
    share = torch.tensor([0.3, 1.0, 0.6, 0.25])
    soft = F.one_hot(LABELS, 3) * share[:, None] + F.one_hot(other, 3) * (1 - share[:, None])
    for cfg in (LossConfig(), LossConfig(smoothing=0.1), given(0.3), LossConfig("bce"), LossConfig("bce", 0.2)):
        apart = share * losses(logits(), LABELS, cfg) + (1 - share) * losses(logits(), other, cfg)
        torch.testing.assert_close(losses(logits(), soft, cfg), apart)


def test_binary_cross_entropy_by_hand() -> None:
    """The sigmoids of log 1, 3, 1/4 are 1/2, 3/4, 1/5."""
    one = torch.tensor([[0.0, math.log(3), math.log(1 / 4)]])
    label = torch.tensor([1])
    yes = [math.log(1 / 2), math.log(3 / 4), math.log(1 / 5)]
    no = [math.log(1 / 2), math.log(1 / 4), math.log(4 / 5)]
    hard = -(no[0] + yes[1] + no[2])
    assert losses(one, label, LossConfig("bce", over_classes="sum")).item() == pytest.approx(hard)
    assert losses(one, label, LossConfig("bce")).item() == pytest.approx(hard / 3)
    targets = [0.3 / 3, 0.7 + 0.3 / 3, 0.3 / 3]
    soft = -sum(t * y + (1 - t) * n for t, y, n in zip(targets, yes, no, strict=True))
    assert losses(one, label, LossConfig("bce", 0.3)).item() == pytest.approx(soft / 3)


def test_every_class_of_a_mixed_image_may_count_as_present() -> None:
    mixed, both = torch.tensor([[0.9, 0.1, 0.0]]), torch.tensor([[1.0, 1.0, 0.0]])
    one, first = torch.tensor([[1.0, -2.0, 0.5]]), torch.tensor([[1.0, 0.0, 0.0]])
    assert torch.equal(losses(one, mixed, LossConfig("bce", present_above=0.0)), losses(one, both, LossConfig("bce")))
    assert torch.equal(losses(one, mixed, LossConfig("bce", present_above=0.2)), losses(one, first, LossConfig("bce")))


def test_the_loss_of_halves_is_taken_in_float32() -> None:
    assert losses(logits().bfloat16(), LABELS, LossConfig("bce", 0.1)).dtype == torch.float32


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: LossConfig("hinge"), r"loss\.name is 'hinge'; choose one of cross_entropy, bce"),
        (lambda: LossConfig(smoothing=1.0), r"loss\.smoothing is 1\.0; give a share in \[0, 1\)"),
        (lambda: LossConfig(smoothing=0.1, distribution=U), "give smoothing_over=given"),
        (lambda: LossConfig(smoothing=0.1, smoothing_over="given"), "give smoothing_over=given"),
        (lambda: LossConfig(smoothing_over="prior"), r"no effect with loss\.smoothing=0"),
        (lambda: LossConfig(smoothing=0.1, smoothing_over="prior", distribution=U), "give smoothing_over=given"),
        (lambda: LossConfig(smoothing_over="given", distribution=U), r"no effect with loss\.smoothing=0"),
        (lambda: LossConfig(smoothing=0.1, smoothing_over="given", distribution=[0.5, 0.4]), "sums to 0.9"),
        (lambda: LossConfig(smoothing=0.1, smoothing_over="given", distribution=[1.5, -0.5]), "give at least 0"),
        (lambda: LossConfig(over_classes="sum"), r"are of loss\.name=bce"),
        (lambda: LossConfig("bce", present_above=0.5), r"loss\.present_above is 0\.5"),
        (lambda: Config(loss=given(0.1)), r"loss\.distribution has 3 numbers; data\.classes is 10"),
    ],
)
def test_a_loss_that_cannot_work_is_refused(make, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make()
