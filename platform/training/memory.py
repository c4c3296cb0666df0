"""A batch that does not fit into a GPU's memory: which part of it would, found by trying."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from platform.config.sampling import SamplingConfig
from platform.data.batch import Batch
from platform.data.pixels import Pixels
from platform.models import dropout
from platform.models.build import logits_and_auxiliary
from platform.training.optim import held_tensors
from platform.training.step import StepConfig


class OutOfMemory(RuntimeError):
    """The message has the batch that was tried and the setting that would fit."""


def advice(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    pixels: Pixels,
    cfg: StepConfig,
    dtype: torch.dtype,
) -> str:
    """What to change so that the same global batch fits, tried on this very device.

    What a later step has in memory besides is there in the trial: the optimiser's momentum, which is made in the first
    step, and the gradients of the part before.

    Args:
        module: the network itself, not a replica's wrapper: other workers take no part.
        optimizer: its optimiser.
        batch: this worker's share of the global batch that did not fit.
    """
    total = len(batch.labels_N)
    tried = -(-total // -(-total // cfg.training.max_batch_per_worker))  # the largest of the equal parts
    said = (
        f"out of memory on {_device_name(pixels.device)} with {tried} images at a time "
        f"(training.batch_size={cfg.training.batch_size}, {total} of them on this worker)"
    )

    def train(images: int) -> None:
        momentum = _momentum(module, optimizer)
        for _ in range(2):
            _forward_and_backward(module, batch, pixels, cfg.sampling, dtype, images)
        del momentum

    def clean_up() -> None:
        module.zero_grad(set_to_none=True)
        if pixels.device.type == "cuda":
            torch.cuda.empty_cache()

    fitting = _largest_that_fits(train, clean_up, tried // 2)
    if fitting is None:
        return f"{said}; not even one image fits: take a smaller model.width or data.image_size, or a larger GPU"
    return f"{said}; training.max_batch_per_worker={fitting} fits: the same batch in {-(-total // fitting)} parts"


def _largest_that_fits(train: Callable[[int], None], clean_up: Callable[[], None], images: int) -> int | None:
    """`images` or a half, a quarter ... of them; None if not even one fits."""
    while images >= 1:
        try:
            train(images)
            return images
        except torch.OutOfMemoryError:
            images //= 2
        finally:
            clean_up()
    return None


def _momentum(module: nn.Module, optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """As much as the optimiser is going to hold and does not yet."""
    return [
        torch.empty_like(parameter)
        for parameter in module.parameters()
        if parameter.requires_grad and not optimizer.state.get(parameter)
        for _ in range(held_tensors(optimizer))
    ]


def _forward_and_backward(
    module: nn.Module, batch: Batch, pixels: Pixels, sampling: SamplingConfig, dtype: torch.dtype, size: int
) -> None:
    part = slice(0, size)
    dropout.set_keys(dropout.layers(module), None)  # those of the part that failed are too many
    images = pixels.training(batch.images[part], batch.mirrored_N[part], batch.colour_draws_N8[part], sampling)
    with torch.autocast(pixels.device.type, dtype, enabled=dtype != torch.float32):
        main, auxiliary = logits_and_auxiliary(module(images))
    (main.float().sum() + sum(logits.float().sum() for logits in auxiliary)).backward()


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
