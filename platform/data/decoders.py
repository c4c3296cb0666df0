"""Who decodes training images: the functions of `loader.decoder`, each of which makes a loader of training batches.

In: a split, its order, the settings, the device that trains, and as `share` the `rank`, `world`, `threads`,
`prefetch`, `sizes`, `draw_count` and `draw_seed` of `TrainLoader`. A new decoder is a function here, and its line in
`platform/config/choices.py`.
"""

from typing import Any

import torch

from platform.config.data import DataConfig
from platform.config.sampling import SamplingConfig
from platform.data.deviceloader import DeviceTrainLoader
from platform.data.index import Split
from platform.data.order import Order
from platform.data.train_loader import TrainLoader


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
