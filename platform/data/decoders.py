"""Who decodes training images: the functions of `loader.decoder`, each of which makes a loader of training batches.

In: a split, its order, the settings, the device that trains, and as `share` the `rank`, `world`, `threads`,
`prefetch`, `sizes`, `draw_count` and `draw_seed` of `TrainLoader`. A new decoder is a function here, and its line in
`platform/config/choices.py`.
"""

import logging
from typing import Any

import torch

from platform.config.data import DataConfig
from platform.config.sampling import SamplingConfig
from platform.data.deviceloader import DeviceTrainLoader
from platform.data.hybrid_loader import Division, HybridTrainLoader
from platform.data.index import Split
from platform.data.order import Order
from platform.data.train_loader import TrainLoader

log = logging.getLogger("platform.data")


def on_cpu(
    split: Split, order: Order, data: DataConfig, sampling: SamplingConfig, device: torch.device, **share: Any
) -> TrainLoader:
    """libjpeg-turbo and Pillow in threads; into page-locked memory where the batch goes to a GPU."""
    return TrainLoader(split, order, data, sampling, pin=device.type == "cuda", **share)


def on_gpu(
    split: Split, order: Order, data: DataConfig, sampling: SamplingConfig, device: torch.device, **share: Any
) -> TrainLoader:
    """nvJPEG on the GPU that trains, a batch in one call."""
    return DeviceTrainLoader(split, order, data, sampling, device=device, **share)


def on_both(
    split: Split,
    order: Order,
    data: DataConfig,
    sampling: SamplingConfig,
    device: torch.device,
    *,
    division: Division | None = None,
    **share: Any,
) -> TrainLoader:
    """Both: the GPU decodes what the threads of the CPU have no time for, which is found while training begins.

    Args:
        division: what is known of that from before.
    """
    if device.type != "cuda":
        log.info("loader.decoder=auto: there is no GPU here, so the CPU decodes all, as with loader.decoder=cpu")
        return on_cpu(split, order, data, sampling, device, **share)
    return HybridTrainLoader(split, order, data, sampling, device=device, division=division, **share)
