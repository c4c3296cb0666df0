"""A training step never waits for the device: what it copies there is page-locked and copied asynchronously.

On the meta device, where every copy from the host can be seen, and where reading a value is an error; on a GPU, where
there is one, with PyTorch's own mode that makes each wait an error.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from platform.config.data import DataConfig
from platform.config.distill import DistillConfig
from platform.config.loss import PRIOR, LossConfig
from platform.config.models import GoogLeNetConfig
from platform.config.optim import OptimConfig, optimiser_class
from platform.config.sampling import SamplingConfig
from platform.config.sections import Config
from platform.config.training import TrainingConfig
from platform.config.transforms import TransformsConfig
from platform.data.batch import Batch
from platform.data.index import Index
from platform.data.order import Order
from platform.data.pixels import Pixels
from platform.data.train_loader import TrainLoader
from platform.models.build import build
from platform.training.averaging import WeightAverage
from platform.training.device_feed import DeviceFeed
from platform.training.feed import Feed
from platform.training.initial import initial_state
from platform.training.learner import Learner
from platform.training.meter import Meter
from platform.training.progress import Progress
from platform.training.step import StepConfig, train_step
from platform.training.step_time import NOT_TIMED
from platform.training.timetable import Timetable
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
        if func in (torch.ops.aten.index.Tensor, torch.ops.aten.index_put_.default):
            masks = [each for each in args[1] if each is not None and each.dtype == torch.bool]
            is_fill = func is torch.ops.aten.index_put_.default and args[2].numel() == 1  # of a mask, by one kernel
            if masks and not is_fill:
                self.waited_for.append(f"{func}: as many values as a mask has")
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


UNFUSED = ("adagrad", "rmsprop", "lars", "lamb", "muon")  # PyTorch's fused kernels, of the others, know no meta device


def everything(optim: OptimConfig) -> Config:
    """All that a step can do, switched on."""
    transforms = TransformsConfig(
        name="rand", rand_ops=4, erase_probability=1.0, mixup_alpha=0.2, cutmix_alpha=1.0, mixing_per="sample"
    )
    training = TrainingConfig(
        batch_size=16,
        max_batch_per_worker=8,
        averaging="ema",
        also_average=["polyak"],
        precision="float32",
        max_gradient_norm=1e6,
        sizes=[[0, 32], [0.5, 40]],
    )
    return Config(
        job="distill",
        data=DataConfig(classes=10, image_size=32),
        model=GoogLeNetConfig(width=0.1, batch_norm=True, init="some", freeze=["stem"]),
        sampling=SamplingConfig(photometric=True, interpolation="random"),
        transforms=transforms,
        loss=LossConfig(smoothing=0.1, smoothing_over=PRIOR),
        distill=DistillConfig(teacher="runs/a"),
        optim=optim,
        training=training,
    )


def learner(cfg: Config, digits: Index, device: torch.device) -> tuple[Learner, Meter, TrainLoader]:
    split, worker = digits.split("train"), Worker(device=device, threads=2, node="here")
    feed = Feed.of(cfg, split, worker, Progress(), None)
    timetable = Timetable.of(cfg.training, cfg.checkpoint, cfg.evaluation, feed.order.steps_per_epoch)
    state = initial_state(cfg, timetable, device)
    made = Learner(cfg, state, feed, timetable, Pixels(cfg.data, device), torch.float32, NOT_TIMED, Progress())
    loader = TrainLoader(split, feed.order, cfg.data, cfg.sampling, threads=2, pin=True)
    return made, Meter(cfg.training, 1.0, worker, feed.order, 0), loader


def taught(batches: Iterator[Batch]) -> Iterator[Batch]:
    for batch in batches:
        logs_NK = torch.randn(len(batch.ids_N), 10, generator=torch.Generator().manual_seed(1)).log_softmax(1)
        batch.teacher_logs_NK = logs_NK.half().pin_memory()
        yield batch


@pytest.mark.slow
@pytest.mark.usefixtures("no_autocast")
@pytest.mark.parametrize("optimiser", UNFUSED)
def test_nothing_that_a_step_can_do_waits(digits: Index, page_locked: PageLocked, optimiser: str) -> None:
    made, meter, loader = learner(everything(optimiser_class(optimiser)(name=optimiser, clip_norm=1.0)), digits, META)
    copies = Copies(page_locked)
    with loader:
        for step, batch in enumerate(taught(loader.steps(0, 3))):
            with copies if step else contextlib.nullcontext():  # constants go to the device in the first step
                meter.add(made.learn(batch, step), step)
    assert copies.waited_for == []
    assert copies.asynchronous >= 2 * 2 * 12


WAITS: dict[str, Callable[[Tensor], object]] = {
    "a value is read": lambda images: images.sum().item(),
    "a condition": lambda images: bool(images.sum() > 0),
    "a mask is an index": lambda images: images[images > 0],
    "a tensor of values": lambda images: torch.tensor([1.0, 2.0], device=images.device),
    "a copy from pageable memory": lambda images: torch.ones(3).to(images.device, non_blocking=True),
    "a copy that is not asynchronous": lambda images: torch.ones(3).pin_memory().to(images.device),
}


@pytest.mark.usefixtures("no_autocast")
@pytest.mark.parametrize("wait", WAITS)
def test_each_kind_of_wait_is_found(page_locked: PageLocked, wait: str) -> None:
    """Put into a network's forward pass."""
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 10)).to(META)

    def put_in(_: object, given: tuple[Tensor]) -> None:
        WAITS[wait](given[0])

    model.register_forward_pre_hook(put_in)
    copies = Copies(page_locked)
    with contextlib.suppress(RuntimeError, NotImplementedError), copies:  # which reading a value on meta is
        model(torch.zeros(2, 3, 32, 32, device=META))
        assert copies.waited_for


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="of a GPU")
@pytest.mark.parametrize("optimiser", [*UNFUSED, "sgd", "adamw"])
def test_a_gpu_is_not_waited_for(digits: Index, optimiser: str) -> None:
    device = torch.device("cuda", 0)
    made, meter, loader = learner(everything(optimiser_class(optimiser)(name=optimiser, clip_norm=1.0)), digits, device)
    try:
        with loader:
            for step, batch in enumerate(DeviceFeed(device).batches(taught(loader.steps(0, 6)))):
                torch.cuda.set_sync_debug_mode("error" if step >= 3 else "default")
                meter.add(made.learn(batch, step), step)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert meter.first_bad_step() is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="of a GPU")
def test_batches_reach_a_gpu_whole(digits: Index) -> None:
    """Each is what the loader made, also while the step before keeps the device busy and the next is copied."""
    cfg, device = Config(data=DataConfig(classes=10, image_size=32)), torch.device("cuda", 0)
    split = digits.split("train")
    order = Order.of(split, 2, 64, 64, 7)
    busy, sums, expected = torch.zeros(4096, 4096, device=device), [], []
    with TrainLoader(split, order, cfg.data, cfg.sampling, threads=2, pin=True) as loader:
        for batch in DeviceFeed(device).batches(taught(loader.steps(0, 12))):
            busy = busy @ busy
            sums.append(torch.stack([each.double().sum() for each in (batch.images, batch.labels_N, batch.mirrored_N)]))
    with TrainLoader(split, order, cfg.data, cfg.sampling, threads=2) as loader:
        for batch in loader.steps(0, 12):
            expected.append(
                torch.stack([each.double().sum() for each in (batch.images, batch.labels_N, batch.mirrored_N)])
            )
    torch.testing.assert_close(torch.stack(sums).cpu(), torch.stack(expected))


def test_on_a_cpu_batches_stay_what_they_are() -> None:
    batches: list[Any] = [object(), object()]
    assert list(DeviceFeed(torch.device("cpu")).batches(batches)) == batches
