"""Small members with everything that a step has, trained alone or together."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from platform.config.data import DataConfig, LoaderConfig
from platform.config.models import GoogLeNetConfig
from platform.config.optim import OptimConfig, SGDConfig
from platform.config.sampling import SamplingConfig
from platform.config.sections import Config
from platform.config.training import TrainingConfig
from platform.data.batch import Batch
from platform.data.pixels import Pixels
from platform.data.sampling import DRAWS
from platform.models.dropout import by_sample
from platform.training.averaging import WeightAverage
from platform.training.fused.network import FusedNetwork
from platform.training.fused.step import FusedMember, NotFinite, fused_step
from platform.training.kept_networks import KeptNetworks
from platform.training.lr_scales import set_lr
from platform.training.optim import optimiser
from platform.training.state import TrainingState
from platform.training.step import StepConfig, StepResult, train_step

CPU = torch.device("cpu")
CLASSES = 5
SIZE = 32


class Small(nn.Module):
    """Branches that are joined, local response norm, dropout, auxiliary head; batch norm if wanted."""

    def __init__(self, *, batch_norm: bool = True, dropout: float = 0.4, widths: tuple[int, int] = (4, 6)) -> None:
        super().__init__()
        norm = nn.BatchNorm2d if batch_norm else lambda _: nn.Identity()
        one, two = widths
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=not batch_norm), norm(8), nn.ReLU(inplace=True))
        self.norm = nn.LocalResponseNorm(3)
        bias = not batch_norm  # before batch norm its gradient is rounding alone
        self.branches = nn.ModuleList(
            [nn.Conv2d(8, one, 1, bias=bias), nn.Conv2d(8, two, 3, padding=1, groups=2, bias=bias)]
        )
        self.pool, self.joined = nn.MaxPool2d(2), norm(one + two)
        self.hidden, self.dropout = nn.Linear(one + two, 12, bias=False), nn.Dropout(dropout)
        self.heads = nn.ModuleList([nn.Linear(12, CLASSES), nn.Linear((one + two) * 64, CLASSES)])

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        x = self.norm(self.stem(images))
        x = self.pool(self.joined(torch.cat([branch(x) for branch in self.branches], dim=1)))
        hidden = self.dropout(self.hidden(x.mean(dim=(2, 3))).relu())
        return self.heads[0](hidden) * 2, self.heads[1](torch.flatten(x, 1))


def small(seed: int, **settings: Any) -> nn.Module:
    torch.manual_seed(seed)
    return by_sample(Small(**settings))


def config(optim: OptimConfig | None = None, *, training: dict[str, Any] | None = None, **sections: Any) -> Config:
    return Config(
        data=DataConfig(classes=CLASSES),
        loader=LoaderConfig(streams=1),
        model=GoogLeNetConfig(),
        optim=optim or SGDConfig(lr=0.05),
        sampling=sections.pop("sampling", SamplingConfig(photometric=True)),
        training=TrainingConfig(**{"batch_size": 12, "averaging": "ema", "averaging_epochs": 2.0} | (training or {})),
        **sections,
    )


def batch(seed: int, images: int = 12) -> Batch:
    generator = np.random.default_rng(seed)
    return Batch(
        images=torch.from_numpy(generator.integers(0, 256, (images, SIZE, SIZE, 3), dtype=np.uint8)),
        labels_N=torch.from_numpy(generator.integers(0, CLASSES, images)),
        ids_N=torch.arange(images),
        valid_N=torch.ones(images, dtype=torch.bool),
        mirrored_N=torch.from_numpy(generator.random(images) < 0.5),
        draws_ND=generator.random((images, DRAWS)),
    )


@dataclass
class Training:
    """A member under way."""

    cfg: Config
    state: TrainingState
    seed: int
    step: int = 0

    @property
    def batch(self) -> Batch:
        """Of its next step."""
        return batch(1000 * self.seed + self.step)

    @property
    def fused(self) -> FusedMember:
        pixels = Pixels(self.cfg.data, CPU, channels_last=self.cfg.training.channels_last)
        return FusedMember(self.state.module, self.state.optimizer, StepConfig.of(self.cfg), pixels)

    def begin_step(self) -> None:
        self.state.module.train()
        set_lr(self.state.optimizer, self.cfg.optim.lr / (1 + self.step))

    def end_step(self) -> None:
        self.state.average.update(self.state.module, self.step)
        self.step += 1


def training(cfg: Config, seed: int, module: nn.Module | None = None) -> Training:
    module = small(seed) if module is None else module
    if cfg.training.channels_last:
        module = module.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    average = WeightAverage(module, cfg.training, 5, 10)
    kept = KeptNetworks(module, cfg.training, cfg.schedule, 5, 10)
    return Training(cfg, TrainingState(module, optimiser(module, cfg.optim), average, kept), seed)


def alone(member: Training, steps: int, dtype: torch.dtype = torch.float32) -> list[StepResult]:
    results = []
    for _ in range(steps):
        member.begin_step()
        results.append(_by_itself(member, dtype))
        member.end_step()
    return results


def _by_itself(member: Training, dtype: torch.dtype) -> StepResult:
    own = member.fused
    return train_step(own.module, own.optimizer, member.batch, own.pixels, own.cfg, dtype, world=1)


def together(
    members: Sequence[Training],
    steps: int,
    dtype: torch.dtype = torch.float32,
    network: FusedNetwork | None = None,
) -> list[list[StepResult]]:
    """Results of each step, by a network that was there before or by one that is released at the end."""
    fused, results = network or FusedNetwork([member.state.module for member in members]), []
    for _ in range(steps):
        for member in members:
            member.begin_step()
        batches = [each.batch for each in members]
        try:
            results.append(fused_step(fused, [each.fused for each in members], batches, dtype))
        except NotFinite:
            results.append([_by_itself(member, dtype) for member in members])
        for member in members:
            member.end_step()
    if not network:
        fused.release()
    return results


def at_lr(cfg: Config, lr: float) -> Config:
    return replace(cfg, optim=replace(cfg.optim, lr=lr))


def require_close(one: Any, other: Any, atol: float, rtol: float, place: str = "") -> None:
    """Of states: the same keys, values, types and layouts in memory, and tensors within a tolerance."""
    match one:
        case dict():
            assert one.keys() == other.keys(), place
            for key in one:
                require_close(one[key], other[key], atol, rtol, f"{place}/{key}")
        case list() | tuple():
            for number, (left, right) in enumerate(zip(one, other, strict=True)):
                require_close(left, right, atol, rtol, f"{place}/{number}")
        case Tensor():
            assert one.stride() == other.stride(), place
            torch.testing.assert_close(other, one, msg=lambda text: f"{place}: {text}", atol=atol, rtol=rtol)
        case _:
            assert one == other, place
