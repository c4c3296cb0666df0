"""One optimiser step: micro-batches forward and backward, loss with auxiliary heads, clipped update."""

import contextlib
import math
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from platform.config.distill import DistillConfig
from platform.config.loss import LossConfig
from platform.config.sampling import SamplingConfig
from platform.config.sections import Config
from platform.config.training import TrainingConfig
from platform.config.transforms import TransformsConfig
from platform.data.batch import Batch
from platform.data.inputs import BatchInputs
from platform.data.pixels import Pixels
from platform.models import dropout
from platform.models.build import logits_and_auxiliary
from platform.training.distillation import taught_losses
from platform.training.optim import clip
from platform.training.step_parts import COPY, FORWARD, OPTIMISER, REST
from platform.training.step_time import NOT_TIMED, StepTimer


@dataclass(frozen=True)
class StepConfig:
    """What one step reads of a member's config."""

    training: TrainingConfig
    sampling: SamplingConfig
    transforms: TransformsConfig
    loss: LossConfig  # of every classifier
    auxiliary_weight: float  # of each auxiliary head's loss
    clip_norm: float  # largest norm of the whole gradient; 0: not clipped
    distill: DistillConfig = field(default_factory=DistillConfig)  # how a teacher counts

    @classmethod
    def of(cls, config: Config) -> Self:
        """Take it from the whole config."""
        return cls(
            config.training,
            config.sampling,
            config.transforms,
            config.loss,
            config.model.auxiliary_weight,
            config.optim.clip_norm,
            config.distill,
        )


@dataclass
class StepResult:
    """Of this worker's share of the global batch, still on the device. The losses averaged over the workers are the
    means over the global batch, however unlike their shares."""

    loss: Tensor  # auxiliary losses included
    main_loss: Tensor  # main classifier alone
    correct: Tensor  # samples the main classifier has right; of mixed ones the label of the larger share counts
    gradient_norm: Tensor  # of the averaged gradient, before clipping; the same on every worker
    bad: Tensor  # whether that is not finite, or longer than `training.max_gradient_norm`
    skipped: bool = False  # bad, and left out


def train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    pixels: Pixels,
    cfg: StepConfig,
    dtype: torch.dtype,
    *,
    world: int,
    timer: StepTimer = NOT_TIMED,
) -> StepResult:
    """Train on one worker's share of a global batch. Samples weigh alike on every worker: replicas average their
    gradients, which are then those of the mean over the global batch.

    More than `training.max_batch_per_worker` samples are taken in equal parts whose gradients add up; replicas
    average gradients once, with the last part: one may have more parts than another.

    Args:
        model: in training mode; a replica where there are several workers.
        optimizer: its optimiser, with the learning rate of this step.
        batch: the worker's share, images uint8 `[N, H, W, 3]`.
        pixels: mirrors, distorts and normalises the images on its device.
        cfg: how the batch is cut, the loss weighted and the gradient clipped.
        dtype: of matrix products and convolutions; float32: without autocast.
        world: number of workers.
        timer: is told where the parts of the step end.

    Returns:
        sums and norms, still on the device: nothing here waits for it unless bad steps are skipped.
    """
    device = pixels.device
    total = len(batch.labels_N)
    parts = -(-total // cfg.training.max_batch_per_worker)
    bounds = [total * part // parts for part in range(parts + 1)]
    weight = world / cfg.training.batch_size  # of each sample
    sums = torch.zeros(3, device=device)
    skips = cfg.training.bad_steps == "skip"
    statistics = [buffer.clone() for buffer in model.buffers()] if skips else []  # a bad step spoils batch norm's
    dropouts, dropout_keys_N = dropout.layers(model), batch.dropout_keys_N
    given = BatchInputs(batch, pixels, cfg.sampling, cfg.transforms)
    optimizer.zero_grad(set_to_none=True)
    for start, stop in zip(bounds[:-1], bounds[1:], strict=True):
        share = slice(start, stop)
        timer.mark(REST)
        shown = given.part(share)
        dropout.set_keys(dropouts, dropout_keys_N[share].to(device, non_blocking=True))
        timer.mark(COPY)
        with _gradient_sync(model, last=stop == total):
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                main, auxiliary = logits_and_auxiliary(timer.forward(model, shown.images))
            targets, taught = shown.targets(main.shape[1]), shown.taught(cfg.distill.temperature)
            main_loss, *auxiliary_losses = (
                (taught_losses(logits, targets, taught, cfg.loss, cfg.distill) * weight).sum()
                for logits in (main, *auxiliary)
            )
            loss = main_loss + cfg.auxiliary_weight * sum(auxiliary_losses)
            timer.mark(FORWARD)
            timer.backward(model, loss)
        correct = (main.detach().argmax(1) == shown.main_labels_N).sum()
        sums += torch.stack([loss.detach(), main_loss.detach(), correct])
    dropout.set_keys(dropouts, None)
    timer.mark(REST)
    norm = clip(model, cfg.clip_norm)
    longest = cfg.training.max_gradient_norm or math.inf
    result = StepResult(*sums.unbind(), gradient_norm=norm, bad=~torch.isfinite(norm) | (norm > longest))
    if skips and bool(result.bad):  # sync point
        result.skipped = True
        for buffer, before in zip(model.buffers(), statistics, strict=True):
            buffer.copy_(before)
    else:
        optimizer.step()
    timer.mark(OPTIMISER)
    return result


def _gradient_sync(model: nn.Module, *, last: bool) -> contextlib.AbstractContextManager[None]:
    """Replicas average their gradients with the last micro-batch only."""
    if isinstance(model, DistributedDataParallel) and not last:
        return model.no_sync()
    return contextlib.nullcontext()


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The dtype of matrix products and convolutions, for `torch.autocast`; weights and losses stay float32.

    Args:
        precision: `training.precision`; auto is bfloat16 where the device computes in it natively.
        device: that the network is on.
    """
    if precision == "auto":
        if device.type == "cuda":
            native = torch.cuda.get_device_capability(device) >= (8, 0)
        else:
            native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        return torch.bfloat16 if native else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[precision]
