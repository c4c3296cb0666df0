"""What every part of the self-test works with: the device, how much to do, a folder, photographs."""

import functools
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import torch

from platform.cluster.resources import cpus_here
from platform.gpu_check.photographs import Packed, packed
from platform.gpu_check.results import NotHere
from platform.gpu_check.sizes import Sizes
from platform.training.worker import Worker


@dataclass(eq=False)
class Context:
    """Of one self-test."""

    device: torch.device
    sizes: Sizes
    folder: Path  # for shards and checkpoints; removed afterwards
    photos: Path | None = None  # a tar of JPEG files; None: they are made

    @property
    def on_gpu(self) -> bool:
        """Whether the device is one of CUDA's."""
        return self.device.type == "cuda"

    @property
    def worker(self) -> Worker:
        """This process, as trainings know it."""
        return Worker(device=self.device, threads=cpus_here())

    @functools.cache  # noqa: B019  # one context a process
    def shards(self, image_size: int) -> Packed:
        """Photographs for a network of such images, packed at the first call."""
        return packed(self.folder, self.sizes.photographs, image_size, self.photos)

    def require_gpu(self, why: str) -> None:
        """Leave a part out on a CPU.

        Raises:
            NotHere: it is one.
        """
        if not self.on_gpu:
            raise NotHere(f"on a CPU {why}")


def installed(module: str) -> bool:
    """Whether a module of some package is here; it is not imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # nor is the package around it
        return False


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
