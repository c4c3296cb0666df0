"""Whether a network can be computed for several members at once: tried on PyTorch's meta device, without memory."""

import torch

from platform.config.models import ModelConfig
from platform.models.rehearsal import META, on_meta
from platform.training.fused.network import FusedNetwork
from platform.training.fused.operations import NotFusable

MEMBERS, IMAGES = 2, 2


def refusal(model: ModelConfig, classes: int, image_size: int) -> str:
    """Why it cannot be.

    Args:
        model: settings of the network.
        classes: outputs of each classifier.
        image_size: pixels each way.

    Returns:
        the reason; "": it can, or an operation is not known on the meta device and the first step will say.
    """
    images = torch.empty(IMAGES, 3, image_size, image_size, device=META)
    keys_N = torch.empty(IMAGES, dtype=torch.int64, device=META)
    try:
        networks = [on_meta(model, classes, image_size) for _ in range(MEMBERS)]
        FusedNetwork(networks).outputs([images] * MEMBERS, [keys_N] * MEMBERS)
    except NotFusable as error:
        return str(error)
    except NotImplementedError:
        return ""
    return ""
