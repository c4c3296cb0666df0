"""Some steps of a network from given weights on given batches: what is compared between devices.

In: settings of a network, an optimiser and images, all drawn from a seed. Out: logits, gradients, losses and the change
of the weights. Steps are made with batch norm's statistics fixed: those of eight small images make deep networks
chaotic, so that the last bit of a sum becomes a tenth of the gradient. What batch norm does with a batch is compared by
the loss of every network, and by the gradient of those that bear it.
"""

import copy
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from platform.config.data import DataConfig
from platform.config.models import ModelConfig
from platform.config.optim import OptimConfig, SGDConfig
from platform.config.sampling import SamplingConfig
from platform.config.sections import Config
from platform.config.training import CUDA_GRAPHS, NOT_COMPILED, TrainingConfig
from platform.config.transforms import TransformsConfig
from platform.data.batch import Batch
from platform.data.pixels import Pixels
from platform.data.sampling import draws_used
from platform.models.build import build, logits_and_auxiliary
from platform.models.compiled import CompiledNetwork
from platform.training.batch_norm import layers
from platform.training.optim import optimiser
from platform.training.step import StepConfig, train_step

CPU = torch.device("cpu")
CLASSES = 10


@dataclass(frozen=True)
class Case:
    """What is trained, on what."""

    model: ModelConfig
    image_size: int  # pixels
    images: int = 8  # of a batch
    steps: int = 3
    optim: OptimConfig = field(default_factory=lambda: SGDConfig(lr=1e-3))
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    transforms: TransformsConfig = field(default_factory=TransformsConfig)
    bears_batch_norm: bool = False  # its gradient is well-conditioned with the statistics of a small batch

    @property
    def config(self) -> Config:
        """As a member's."""
        return Config(
            data=DataConfig(classes=CLASSES, image_size=self.image_size),
            model=self.model,
            optim=self.optim,
            sampling=self.sampling,
            transforms=self.transforms,
            training=TrainingConfig(batch_size=self.images),
        )

    def batches(self) -> list[Batch]:
        """One a step, on the host."""
        return [made_batch(self.images, self.image_size, self.transforms, step) for step in range(self.steps)]


@dataclass
class Trained:
    """What came of it, on the CPU and in float64 where it is of tensors."""

    logits: Tensor  # of the first batch in evaluation, before training: [N, K]
    gradient: list[Tensor]  # of each parameter in the first step, with fixed statistics of batch norm
    losses: list[float]  # of each step
    change: list[Tensor]  # of each parameter, from before the first step to after the last
    batch_loss: float  # of the first batch, batch norm with its statistics
    batch_gradient: list[Tensor]  # the same; empty where the network does not bear it


def trained(
    case: Case,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    *,
    channels_last: bool = True,
    mode: str = NOT_COMPILED,
) -> Trained:
    """Train on a device.

    Args:
        case: what.
        device: where.
        dtype: of matrix products and convolutions.
        channels_last: memory format of images and weights: another one adds in another order.
        mode: of `training.compile`.
    """
    config, batches = case.config, case.batches()
    pixels = Pixels(config.data, device, channels_last=channels_last)
    network = network_of(case, device, channels_last=channels_last)
    step_config = StepConfig.of(config)
    shown = pixels.evaluation(batches[0].images)
    logits = logits_of(network.eval() if mode == NOT_COMPILED else CompiledNetwork(network.eval(), mode), shown, dtype)

    spare = copy.deepcopy(network).train()
    unused = torch.optim.SGD(spare.parameters(), lr=0.0)
    batch_loss = train_step(spare, unused, batches[0], pixels, step_config, dtype, world=1).loss
    batch_gradient = _gradient(spare) if case.bears_batch_norm else []

    run = network if mode == NOT_COMPILED else CompiledNetwork(network, mode)
    optimizer = optimiser(_with_fixed_statistics(network), case.optim)
    before = [each.detach().clone() for each in network.parameters()]
    losses, gradient = [], []
    for step, batch in enumerate(batches):
        if mode == CUDA_GRAPHS:
            torch.compiler.cudagraph_mark_step_begin()  # what the step before returned may be overwritten
        result = train_step(run, optimizer, batch, pixels, step_config, dtype, world=1)
        losses.append(float(result.loss))
        gradient = _gradient(network) if step == 0 else gradient
    change = [on_host(now - then) for now, then in zip(network.parameters(), before, strict=True)]
    return Trained(logits, gradient, losses, change, float(batch_loss), batch_gradient)


def network_of(case: Case, device: torch.device, *, channels_last: bool) -> nn.Module:
    """The network with the weights of seed 0, and batch norm's statistics of its first batch; made on the CPU, so that
    it is the same for every device."""
    network = build(case.model, CLASSES, case.image_size, seed=0)
    usual = {norm: norm.momentum for norm in layers(network)}
    if usual:
        for norm in usual:
            norm.momentum = 0.5  # with 1, the small variances of eight small images are divided by
        with torch.no_grad():
            network.train()(Pixels(case.config.data, CPU).evaluation(case.batches()[0].images))
        for norm, momentum in usual.items():
            norm.momentum = momentum
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    return network.to(device).to(memory_format=memory_format)


def made_batch(images: int, size: int, transforms: TransformsConfig, seed: int) -> Batch:
    """Random images in patches of 4 pixels, labels and draws: `images` of `size` x `size` pixels, on the host."""
    generator = torch.Generator().manual_seed(seed)
    side = -(-size // 4)
    coarse = torch.randint(0, 256, (images, side, side, 3), generator=generator, dtype=torch.uint8)
    shown = coarse.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, :size, :size].contiguous()
    draws = np.random.Generator(np.random.Philox(seed)).random((images + 1, draws_used(transforms)))
    return Batch(
        images=shown,
        labels_N=torch.randint(0, CLASSES, (images,), generator=generator),
        ids_N=torch.arange(images),
        valid_N=torch.ones(images, dtype=torch.bool),
        mirrored_N=torch.rand(images, generator=generator) < 0.5,
        draws_ND=draws[:-1],
        per_stream=images,
        step_draws=draws[-1],
    )


def part_of(batch: Batch, rank: int, world: int) -> Batch:
    """A worker's share of a global batch: consecutive images, as many for each."""
    each = len(batch.ids_N) // world
    share = slice(rank * each, (rank + 1) * each)
    tensors = {name: getattr(batch, name)[share] for name in ("images", "labels_N", "ids_N", "valid_N", "mirrored_N")}
    return replace(batch, **tensors, draws_ND=batch.draws_ND[share], per_stream=each)


def on_device(batch: Batch, device: torch.device) -> Batch:
    """What a step reads of a batch, on the device: then no copies are measured."""
    return replace(batch, **{name: getattr(batch, name).to(device) for name in ("images", "labels_N", "mirrored_N")})


def logits_of(network: nn.Module, images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """A network's main logits for normalised images `[N, 3, H, W]`: float64 `[N, K]` on the CPU."""
    with torch.no_grad(), torch.autocast(images.device.type, dtype, enabled=dtype != torch.float32):
        main, _ = logits_and_auxiliary(network(images))
    return on_host(main)


def on_host(tensor: Tensor) -> Tensor:
    """In float64."""
    return tensor.detach().double().cpu()


def _with_fixed_statistics(network: nn.Module) -> nn.Module:
    """In training but for its batch norms."""
    network.train()
    for norm in layers(network):
        norm.eval()
    return network


def _gradient(network: nn.Module) -> list[Tensor]:
    return [on_host(each.grad) for each in network.parameters() if each.grad is not None]
