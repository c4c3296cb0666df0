"""The loss of a network that has a teacher: of its labels and of the teacher's probabilities (Hinton et al. 2015).

In: logits `[N, K]`, targets as `losses` takes them, the teacher's probabilities at the temperature `[N, K]`.
Out: float32 `[N]`. Every classifier of a network, auxiliary ones too, has the same loss.
"""

import torch.nn.functional as F
from torch import Tensor

from platform.config.distill import DistillConfig
from platform.config.loss import LossConfig
from platform.training.loss import losses


def taught_losses(
    logits_NK: Tensor, targets: Tensor, teacher_NK: Tensor | None, loss: LossConfig, distill: DistillConfig
) -> Tensor:
    """(1 - w) loss(labels) + w T^2 KL(teacher at T || network at T) of each sample; without a teacher the loss alone.

    T^2 keeps the gradient of the second part as large as it is at T = 1 (Hinton, Vinyals and Dean, arXiv 1503.02531,
    section 2).

    Args:
        logits_NK: of one classifier.
        targets: labels or soft targets.
        teacher_NK: float32, the teacher's probabilities, its logarithms divided by T; None: there is no teacher.
        loss: of the labels.
        distill: w and T.

    Returns:
        float32 `[N]`.
    """
    if teacher_NK is None:
        return losses(logits_NK, targets, loss)
    logs_NK = F.log_softmax(logits_NK.float() / distill.temperature, 1)
    divergence_N = F.kl_div(logs_NK, teacher_NK, reduction="none").sum(1)
    taught_N = distill.weight * distill.temperature**2 * divergence_N
    return taught_N if distill.weight == 1 else (1 - distill.weight) * losses(logits_NK, targets, loss) + taught_N
