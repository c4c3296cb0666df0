"""Rendered crops -> probabilities of every view: the forward pass of evaluation and of exported models alike."""

from collections.abc import Callable

import torch
from torch import Tensor

from platform.evaluation.views import in_order, with_mirrors


@torch.inference_mode()
def view_probabilities(
    network: Callable[[Tensor], Tensor],
    normalise: Callable[[Tensor], Tensor],
    crops: Tensor,
    views: int,
    *,
    mirror: bool,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Softmax probabilities of all views of some images, `[N, V, K]` float32, on the network's device.

    Args:
        network: images `[N, 3, H, W]`, in channels_last, -> logits `[N, K]`; not in training.
        normalise: uint8 `[N, H, W, 3]` -> the network's input, on its device.
        crops: uint8 `[N, U, H, W, 3]` as `render` makes them, on any device.
        views: 1, 10, 12 or 144.
        mirror: whether mirror images are views; without them each crop stands for its mirror image, too.
        dtype: of matrix products and convolutions; float32: without autocast.
    """
    n, rendered = crops.shape[:2]
    views_NV = normalise(crops.flatten(0, 1)).unflatten(0, (n, rendered))
    if mirror:
        views_NV = with_mirrors(views_NV, views)
    flat = views_NV.flatten(0, 1).contiguous(memory_format=torch.channels_last)
    with torch.autocast(flat.device.type, dtype, enabled=dtype != torch.float32):
        logits = network(flat)
    probs = logits.float().softmax(-1).unflatten(0, (n, -1))
    return probs if mirror else in_order(probs, probs, views)
