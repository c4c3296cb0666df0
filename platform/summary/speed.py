"""Images/s of a network on this machine, for a few seconds: forward, and forward and backward.

In: a model's settings. Out: images/s, with the device and how it was measured. The network is a real one, of random
weights, on a GPU if there is one.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from platform.config.models import ModelConfig
from platform.models.build import build, logits_and_auxiliary

BATCH_ON_CPU, BATCH_ON_GPU = 8, 64
MAX_RUNS = 200


@dataclass(frozen=True)
class Speed:
    """What was measured, the median of `runs` batches each."""

    device: str
    batch: int
    forward: float  # images/s
    training: float  # forward and backward
    runs: tuple[int, int]

    @property
    def text(self) -> str:
        """In a line."""
        return (
            f"{self.forward:,.1f} images/s forward, {self.training:,.1f} images/s forward and backward "
            f"({self.device}, float32, batches of {self.batch}, medians of {self.runs[0]} and {self.runs[1]})"
        )


def measure(model: ModelConfig, classes: int, image_size: int, seconds: float) -> Speed:
    """Measure for about so many seconds in all; at least one batch each, after one to warm up."""
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda" if on_gpu else "cpu")
    batch = BATCH_ON_GPU if on_gpu else BATCH_ON_CPU
    network = build(model, classes, image_size, seed=0).to(memory_format=torch.channels_last).to(device)
    images = torch.rand(batch, 3, image_size, image_size, device=device).contiguous(memory_format=torch.channels_last)

    def forward() -> None:
        with torch.inference_mode():
            network(images)

    def both() -> None:
        main, auxiliary = logits_and_auxiliary(network(images))
        (main.sum() + sum(logits.sum() for logits in auxiliary)).backward()
        network.zero_grad(set_to_none=True)

    network.eval()
    forwards = _times(forward, seconds / 2)
    network.train()
    trainings = _times(both, seconds / 2)
    return Speed(
        torch.cuda.get_device_name() if on_gpu else _cpu(),
        batch,
        batch / statistics.median(forwards),
        batch / statistics.median(trainings),
        (len(forwards), len(trainings)),
    )


def _cpu() -> str:
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' * (threads > 1)}"


def _times(run: Callable[[], None], seconds: float) -> list[float]:
    """How long each run takes, for about so many seconds, after one that warms up."""
    began = time.perf_counter()
    run()
    found: list[float] = []
    while not found or (time.perf_counter() - began < seconds and len(found) < MAX_RUNS):
        before = time.perf_counter()
        run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        found.append(time.perf_counter() - before)
    return found
