"""A training step never waits for the device: what it copies there is page-locked and copied asynchronously.

On the meta device, where every copy from the host can be seen, and where reading a value is an error.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from platform.config.data import DataConfig
from platform.config.models import GoogLeNetConfig
from platform.config.sampling import SamplingConfig
from platform.config.sections import Config
from platform.config.training import TrainingConfig
from platform.data.index import Index
from platform.data.loader import Batch, TrainLoader
from platform.data.order import Order
from platform.data.pixels import Pixels
from platform.models.build import build
from platform.training.averaging import WeightAverage
from platform.training.meter import Meter
from platform.training.step import StepConfig, train_step
from platform.training.worker import Worker

META = torch.device("meta")


@dataclass
class PageLocked:
    """Which memory was asked for as page-locked, on a machine that has no GPU to lock it for."""

    tensors: list[Tensor] = field(default_factory=list)  # kept, so that no other gets its address

    def __contains__(self, tensor: Tensor) -> bool:
        return _memory(tensor) in [_memory(each) for each in self.tensors]

    def keep(self, tensor: Tensor) -> Tensor:
        self.tensors.append(tensor)
        return tensor


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


@pytest.fixture
def page_locked(monkeypatch: pytest.MonkeyPatch) -> PageLocked:
    locked = PageLocked()
    for name in ("empty", "zeros"):
        make = getattr(torch, name)

        def made(*size: Any, make: Any = make, pin_memory: bool = False, **options: Any) -> Tensor:
            return locked.keep(make(*size, **options)) if pin_memory else make(*size, **options)

        monkeypatch.setattr(torch, name, made)
    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: locked.keep(tensor.clone()))
    monkeypatch.setattr(Tensor, "is_pinned", lambda tensor: tensor in locked)
    return locked


class Copies(TorchDispatchMode):
    """Notes every copy from the host to the device, and which of them the host waits for."""

    def __init__(self, locked: PageLocked) -> None:
        super().__init__()
        self._locked = locked
        self.asynchronous = 0
        self.waited_for: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if isinstance(out, Tensor) and out.device == META:
            self._note(func, args, kwargs)
        return out

    def _note(self, func: Any, args: Any, kwargs: Any) -> None:
        if "lift_fresh" in str(func):  # torch.tensor(values, device=...)
            self.waited_for.append(f"{func}: made of values of the host")
        for tensor in [each for each in args if isinstance(each, Tensor) and each.device.type == "cpu" and each.ndim]:
            if kwargs.get("non_blocking") and tensor in self._locked:
                self.asynchronous += 1
            else:
                self.waited_for.append(f"{func}: {tensor.dtype} {tuple(tensor.shape)}")


@pytest.fixture
def no_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of which the meta device has none."""
    monkeypatch.setattr(torch, "autocast", lambda *_args, **_options: contextlib.nullcontext())


def steps(cfg: Config, digits: Index) -> Iterator[tuple[Batch, Order]]:
    split = digits.split("train")
    order = Order.of(split, 2, cfg.training.batch_size, 64, 7)
    with TrainLoader(split, order, cfg.data, cfg.sampling, threads=2, pin=True) as loader:
        for batch in loader.steps(0, 3):
            yield batch, order


@pytest.mark.slow
@pytest.mark.usefixtures("no_autocast")
@pytest.mark.parametrize("averaging", ["polyak", "ema"])
def test_a_step_copies_asynchronously_and_never_waits(digits: Index, page_locked: PageLocked, averaging: str) -> None:
    cfg = Config(
        data=DataConfig(classes=10),
        model=GoogLeNetConfig(width=0.1, batch_norm=True),
        sampling=SamplingConfig(photometric=True, interpolation="random"),
        training=TrainingConfig(batch_size=16, max_batch_per_worker=8, averaging=averaging),
    )
    model = build(cfg.model, 10, 32, 0).to(META)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, 0.9)  # what it waits for fused is torch's own affair
    average = WeightAverage(model, cfg.training, 10, 100)
    pixels = Pixels(cfg.data, META)
    copies = Copies(page_locked)
    meter: Meter | None = None
    for step, (batch, order) in enumerate(steps(cfg, digits)):
        worker = Worker(rank=0, world=1, device=META, threads=1, node="here")
        meter = meter or Meter(cfg.training, cfg.optim.lr, worker, order, 0)
        if step == 0:  # constants go to the device now, and then no more
            train_step(model, optimizer, batch, pixels, StepConfig.of(cfg), torch.float32, world=1)
            continue
        with copies:
            result = train_step(model, optimizer, batch, pixels, StepConfig.of(cfg), torch.float32, world=1)
            average.update(model, step)
            meter.add(result, step)
    assert copies.waited_for == []
    assert copies.asynchronous >= 2 * 2 * 5  # steps, parts; images, mirrored, colours, labels and dropout's keys


@pytest.mark.usefixtures("no_autocast")
def test_evaluation_copies_its_images_asynchronously(page_locked: PageLocked) -> None:
    images = torch.zeros(2, 32, 32, 3, dtype=torch.uint8, pin_memory=True)
    pixels, copies = Pixels(DataConfig(), META), Copies(page_locked)
    with copies:
        pixels.evaluation(images)
    assert (copies.asynchronous, copies.waited_for) == (1, [])
