"""Batches that are copied to the device on a stream of their own, while it computes: each arrives whole."""

import torch

from platform.config.sampling import SamplingConfig
from platform.data.order import Order
from platform.data.train_loader import TrainLoader
from platform.gpu_check.context import Context
from platform.gpu_check.results import Results
from platform.training.device_feed import DeviceFeed

STEPS, BATCH = 12, 16


def feed(context: Context, results: Results) -> None:
    """Sums of every batch, while the device is kept busy."""
    packed = context.shards(context.sizes.small_side)
    split = packed.index.split("train")
    order = Order.of(split, 2, BATCH, 64, 7)
    found, expected = [], []
    side = 4096 if context.on_gpu else 64
    busy = torch.zeros(side, side, device=context.device)
    last = min(STEPS, order.steps_per_epoch)

    def loader() -> TrainLoader:
        return TrainLoader(split, order, packed.data, SamplingConfig(), threads=2, pin=context.on_gpu)

    with loader() as loading:
        for batch in DeviceFeed(context.device).batches(loading.steps(0, last)):
            busy = busy @ busy
            found.append(_sums(batch.images, batch.labels_N, batch.mirrored_N))
    with loader() as loading:
        expected = [_sums(batch.images, batch.labels_N, batch.mirrored_N) for batch in loading.steps(0, last)]
    differing = sum(not torch.equal(one.cpu(), other) for one, other in zip(found, expected, strict=True))
    how = "on a stream of their own" if context.on_gpu else "on a CPU nothing is copied"
    results.require("batches arrive whole", f"{differing} of {last} batches differ; {how}", passed=differing == 0)


def _sums(*tensors: torch.Tensor) -> torch.Tensor:
    """Whole numbers below 2^53: the same on every device."""
    return torch.stack([each.double().sum() for each in tensors])
