"""The loss of each sample: softmax cross-entropy or binary cross-entropy, of labels or of soft targets, smoothed.

In: logits `[N, K]`, and targets: labels `[N]`, or probabilities `[N, K]` as mixing and distillation make them.
Out: float32 `[N]`. Every classifier of a network, auxiliary ones too, has the same loss.
"""

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from platform.config.loss import GIVEN, PRIOR, UNIFORM, LossConfig
from platform.data.line import Ids
from platform.data.pixels import constant


def with_prior(cfg: LossConfig, labels: Ids | None, classes: int) -> LossConfig:
    """The loss with the training images' shares of the classes as numbers, where it is smoothed over them.

    Args:
        cfg: the loss; any other is returned as it is.
        labels: of the training images, each once.
        classes: how many there are; one without an image has the share 0.
    """
    if cfg.smoothing_over != PRIOR:
        return cfg
    assert labels is not None
    shares_K = np.bincount(labels, minlength=classes) / len(labels)
    return replace(cfg, smoothing_over=GIVEN, distribution=shares_K.tolist())


def losses(logits_NK: Tensor, targets: Tensor, cfg: LossConfig) -> Tensor:
    """The loss of each sample, in float32 whatever the logits' dtype.

    Binary cross-entropy takes each class as a question of its own (Wightman et al., ResNet strikes back, arXiv
    2110.00476), as the mean over classes there; a sum has K times its gradient.

    Args:
        logits_NK: of one classifier.
        targets: int64 labels `[N]`, or float32 `[N, K]` with a row's shares in [0, 1].
        cfg: which loss, and how targets are smoothed.

    Returns:
        float32 `[N]`.
    """
    logits_NK = logits_NK.float()
    if cfg.name == "cross_entropy":
        plain = cfg.smoothing == 0
        wanted = targets if plain else smoothed(as_shares(targets, logits_NK.shape[1]), cfg)
        return F.cross_entropy(logits_NK, wanted, reduction="none")
    shares_NK = as_shares(targets, logits_NK.shape[1])
    if cfg.present_above is not None:
        shares_NK = (shares_NK > cfg.present_above).float()
    losses_NK = F.binary_cross_entropy_with_logits(logits_NK, smoothed(shares_NK, cfg), reduction="none")
    return losses_NK.mean(1) if cfg.over_classes == "mean" else losses_NK.sum(1)


def as_shares(targets: Tensor, classes: int) -> Tensor:
    """Labels `[N]` as float32 `[N, K]` of ones and zeros; soft targets as they are."""
    return targets if targets.is_floating_point() else F.one_hot(targets, classes).float()


def smoothed(shares_NK: Tensor, cfg: LossConfig) -> Tensor:
    """q'(k) = (1 - eps) q(k) + eps u(k) (Szegedy et al., CVPR 2016, section 7)."""
    if cfg.smoothing == 0:
        return shares_NK
    if cfg.smoothing_over == UNIFORM:
        return shares_NK * (1 - cfg.smoothing) + cfg.smoothing / shares_NK.shape[1]
    over_K = constant(tuple(cfg.distribution), shares_NK.device, torch.float32)
    return shares_NK * (1 - cfg.smoothing) + cfg.smoothing * over_K
