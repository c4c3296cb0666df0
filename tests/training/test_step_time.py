"""Each part of a step is found in its own place, by clocks that the tests set, and measuring changes nothing."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._C._distributed_c10d import GradBucket, HashStore
from torch.nn.parallel import DistributedDataParallel

from platform.config.data import DataConfig
from platform.config.optim import SGDConfig
from platform.config.sections import Config
from platform.data.batch import Batch
from platform.data.index import Index, Split
from platform.data.pixels import Pixels
from platform.data.sampling import DRAWS
from platform.data.train_loader import TrainLoader
from platform.models.build import build
from platform.training import evaluations, feed, initial
from platform.training.averaging import WeightAverage
from platform.training.loop import train
from platform.training.optim import optimiser
from platform.training.step import StepConfig, train_step
from platform.training.step_parts import (
    BACKWARD,
    CHECKPOINT,
    COPY,
    EXCHANGE,
    FORWARD,
    LOGGING,
    OPTIMISER,
    PARTS,
    REST,
    WAIT,
)
from platform.training.step_time import NOT_TIMED, StepTimer
from platform.training.worker import Worker
from tests.training.test_loop import Recorder, assert_same, config, nothing

pytestmark = pytest.mark.usefixtures("one_thread")


class Clock:
    """Stands still unless it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def work(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class Stamp:
    """An event that a device has yet to reach."""

    at: float
    reached: bool = False


class Device:
    """Reaches its events when it is waited for."""

    def __init__(self) -> None:
        self.clock, self.stamps = Clock(), list[Stamp]()

    def stamp(self) -> Stamp:
        self.stamps.append(Stamp(self.clock.now))
        return self.stamps[-1]

    def wait(self) -> None:
        for stamp in self.stamps:
            stamp.reached = True

    def seconds(self, start: Stamp, stop: Stamp) -> float:
        assert start.reached
        assert stop.reached
        return stop.at - start.at


def step(timer: StepTimer, clock: Clock, wait: float = 1.0, forward: float = 2.0, rest: float = 0.5) -> None:
    clock.work(wait)
    timer.mark(WAIT)
    clock.work(forward)
    timer.mark(FORWARD)
    clock.work(rest)
    timer.begin()


def test_parts_are_means_over_the_steps_after_the_first_and_add_up_to_their_time() -> None:
    clock = Clock()
    timer = StepTimer(clock)
    timer.begin()
    step(timer, clock, 100.0)  # warms up
    began = clock.now
    step(timer, clock, wait=1.0)
    step(timer, clock, wait=3.0)
    found = timer.take()
    assert found == dict.fromkeys(PARTS, 0.0) | {WAIT: 4 / 3, FORWARD: 4 / 3, REST: 1 / 3}  # the third has begun
    step(timer, clock)
    step(timer, clock)
    again = timer.take()
    assert 3 * sum(found.values()) + 2 * sum(again.values()) == pytest.approx(clock.now - began)


def test_logging_and_checkpoints_are_spread_over_all_steps() -> None:
    clock = Clock()
    timer = StepTimer(clock, every=4)
    timer.begin()
    for number in range(1, 9):
        clock.work(1.0)
        timer.mark(FORWARD)
        if number == 3:
            with timer.apart(LOGGING):
                clock.work(8.0)
        if number in (4, 5):
            with timer.apart(CHECKPOINT):
                clock.work(4.0)
        clock.work(0.5)
        timer.begin()
    assert timer.take() == dict.fromkeys(PARTS, 0.0) | {FORWARD: 0.5, REST: 0.25, LOGGING: 1.0, CHECKPOINT: 1.0}


def test_what_came_while_no_step_was_measured_is_in_the_next_reading() -> None:
    """A log step every two steps, and every fourth is measured."""
    clock = Clock()
    timer = StepTimer(clock, every=4)
    timer.begin()
    timer.begin()
    with timer.apart(CHECKPOINT):
        clock.work(4.0)
    timer.begin()
    assert timer.take() == {}
    timer.begin()
    timer.begin()
    clock.work(2.0)
    timer.mark(FORWARD)
    assert timer.take() == dict.fromkeys(PARTS, 0.0) | {FORWARD: 2.0, CHECKPOINT: 1.0}
    assert timer.take() == {}


def test_an_evaluation_is_left_out() -> None:
    clock = Clock()
    timer = StepTimer(clock)
    timer.begin()
    timer.begin()
    clock.work(1.0)
    timer.mark(REST)
    clock.work(100.0)
    timer.leave_out()
    clock.work(2.0)
    timer.mark(FORWARD)
    found = timer.take()
    assert (found[REST], found[FORWARD], sum(found.values())) == (1.0, 2.0, 3.0)


def test_of_a_device_one_step_in_several_is_measured_and_nothing_is_read_before_it_is_waited_for() -> None:
    device = Device()
    timer = StepTimer(device.stamp, device.seconds, every=4, at_once=False)
    timer.begin()
    for number in range(1, 12):
        step(timer, device.clock, wait=1.0 if number in (5, 9) else 1000.0)
    assert len(device.stamps) == 2 * 4  # of two steps: where they begin, and three marks
    device.wait()
    found = timer.take()
    assert (found[WAIT], found[FORWARD], found[REST]) == (1.0, 2.0, 0.5)


def test_no_steps_are_measured_beyond_what_memory_may_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.training.step_time.MOST_SPANS", 9)
    device = Device()
    timer = StepTimer(device.stamp, device.seconds, at_once=False)
    timer.begin()
    for _ in range(100):
        step(timer, device.clock)
    device.wait()
    assert timer.take()[FORWARD] == 2.0
    assert len(device.stamps) < 20


def test_a_timer_that_never_begins_takes_no_stamp() -> None:
    timer = StepTimer(lambda: pytest.fail("asked"))
    timer.mark(WAIT)
    with timer.apart(LOGGING):
        pass
    assert timer.take() == {}


class Slow(nn.Module):
    """A network whose passes move a clock: a second forward, two backward."""

    def __init__(self, network: nn.Module, clock: Clock) -> None:
        super().__init__()
        self.network, self.clock = network, clock

    def forward(self, images: Tensor) -> Any:
        if self.training:
            self.clock.work(1.0)
            images = Backward.apply(images.requires_grad_(), self.clock)  # pyright: ignore[reportAssignmentType]
        return self.network(images)


class Backward(torch.autograd.Function):
    """Nothing, which takes two seconds backward."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, clock: Clock) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.clock = clock
        return images.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.clock.work(2.0)
        return gradient, None


@pytest.mark.slow
def test_a_training_reports_where_its_time_goes(
    digits: Index, digits_data: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each part moves the clock by its own amount, and the report finds it there."""
    clock, decoding, recorder = Clock(), threading.local(), Recorder()
    made = feed.training_loader

    class Waiting(TrainLoader):
        """Half a second until each batch; a hundredth of a second of decoding for each image."""

        def batches(self, requests: Any) -> Iterator[Batch]:
            for batch in super().batches(requests):
                clock.work(0.5)
                yield batch

    def decode(render: Callable[..., None]) -> Callable[..., None]:
        def rendering(*arguments: Any) -> None:
            decoding.now = getattr(decoding, "now", 0.0) + 0.01
            render(*arguments)

        return rendering

    def opened(*arguments: Any) -> TrainLoader:
        loader = made(*arguments)
        loader.__class__ = Waiting
        loader.clock = lambda: getattr(decoding, "now", 0.0)
        loader._render = decode(loader._render)
        return loader

    def report(step: int, metrics: dict[str, float]) -> None:
        clock.work(0.25)
        recorder(step, metrics)

    update = WeightAverage.update
    monkeypatch.setattr(StepTimer, "on", lambda device: StepTimer(clock))
    monkeypatch.setattr(feed, "training_loader", opened)
    monkeypatch.setattr(initial, "build", lambda *arguments: Slow(build(*arguments), clock))
    monkeypatch.setattr(evaluations, "evaluate", lambda *arguments: clock.work(1000.0) or _scores())
    monkeypatch.setattr(WeightAverage, "update", lambda *arguments: clock.work(0.125) or update(*arguments))
    cfg = config(digits_data, log_every_steps=4)
    cfg = replace(cfg, model=replace(cfg.model, auxiliary_weight=0.0))
    val = replace(digits, splits={"train": digits.split("train"), "val": Split("val", digits.split("val").shards[-1:])})
    train(cfg, val, Worker(threads=2), tmp_path, report)
    reports = [metrics for _, metrics in recorder.reports if "train/loss" in metrics]
    assert not any(name.startswith("within_step/") for name in reports[0])  # the first step warms up
    for metrics in reports[2:]:
        found = {name: value for name, value in metrics.items() if name.startswith("within_step/")}
        expected = dict.fromkeys((f"within_step/{part}_ms" for part in PARTS), 0.0)
        expected |= {"within_step/wait_ms": 500.0, "within_step/forward_ms": 1000.0, "within_step/backward_ms": 2000.0}
        expected |= {
            "within_step/rest_ms": 125.0,
            "within_step/logging_ms": 250 / 4,
            "within_step/decode_ms": 8 * 10 / 2,
        }
        assert found == pytest.approx(expected), found
    assert recorder.curve("val/seconds")[0] >= 0.0


def _scores() -> Any:
    from platform.evaluation.metrics import Scores

    return Scores(1, 1, 1, 0.0, 0)


@pytest.fixture
def alone() -> Iterator[None]:
    """A group of one process."""
    dist.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def replica_steps(cfg: Config, timer: StepTimer, hook: Callable[..., Any] | None = None) -> nn.Module:
    """The weights after three steps of a replica, in two micro-batches each."""
    torch.manual_seed(0)
    module = build(cfg.model, 10, 32, 0)
    model = DistributedDataParallel(module)
    if hook:
        model.register_comm_hook(None, hook)
    optimizer = optimiser(module, SGDConfig(lr=0.1))
    generator = torch.Generator().manual_seed(0)
    timer.begin() if timer is not NOT_TIMED else None
    for _ in range(3):
        batch = Batch(
            torch.randint(0, 255, (8, 32, 32, 3), dtype=torch.uint8, generator=generator),
            torch.randint(0, 10, (8,), generator=generator),
            torch.arange(8),
            torch.ones(8, dtype=torch.bool),
            torch.zeros(8, dtype=torch.bool),
            torch.rand(8, DRAWS, generator=generator, dtype=torch.float64).numpy(),
        )
        pixels = Pixels(DataConfig(), torch.device("cpu"))
        train_step(model, optimizer, batch, pixels, StepConfig.of(cfg), torch.float32, world=1, timer=timer)
        timer.begin() if timer is not NOT_TIMED else None
    return module


def small(data: DataConfig) -> Config:
    return config(data, batch_norm=True, batch_size=8, max_batch_per_worker=4)


@pytest.mark.slow
@pytest.mark.usefixtures("alone")
def test_what_backward_does_not_hide_of_the_exchange_is_told_apart(digits_data: DataConfig) -> None:
    """The gradients of other workers come five seconds after the last own one."""
    clock, computed = Clock(), threading.Event()
    timer = StepTimer(clock)
    mark = timer.mark

    def marking(part: str) -> None:
        mark(part)
        if part == BACKWARD:
            computed.set()

    def exchange(_: None, bucket: GradBucket) -> torch.futures.Future[Tensor]:
        future: torch.futures.Future[Tensor] = torch.futures.Future()
        gradients, last = bucket.buffer(), bucket.is_last()
        computed.clear()  # of the micro-batch before, which is not exchanged

        def peers() -> None:
            if last and timer.measures:
                assert computed.wait(30)
                clock.work(5.0)
            future.set_result(gradients)

        threading.Thread(target=peers, daemon=True).start()
        return future

    timer.mark = marking
    replica_steps(small(digits_data), timer, exchange)
    found = timer.take()
    assert found[EXCHANGE] == pytest.approx(10 / 3)  # two steps are measured whole, and the third has begun
    assert sum(found.values()) == found[EXCHANGE]


@pytest.mark.slow
@pytest.mark.usefixtures("alone")
def test_replicas_that_are_measured_train_to_the_same_bits(digits_data: DataConfig) -> None:
    cfg = small(digits_data)
    timer = StepTimer()
    measured, other = replica_steps(cfg, timer), replica_steps(cfg, NOT_TIMED)
    assert_same(measured, other)
    found = timer.take()
    assert all(found[part] > 0 for part in (COPY, FORWARD, BACKWARD, EXCHANGE, OPTIMISER))
    assert not measured._forward_pre_hooks


@pytest.mark.slow
def test_a_training_that_is_measured_ends_with_the_same_bits(
    digits: Index, digits_data: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = config(digits_data, log_every_steps=5)
    val = replace(digits, splits={"train": digits.split("train"), "val": Split("val", digits.split("val").shards[-1:])})
    measured = train(cfg, val, Worker(), tmp_path / "measured", nothing)
    monkeypatch.setattr(StepTimer, "on", lambda device: NOT_TIMED)
    monkeypatch.setattr(NOT_TIMED, "begin", lambda: None)
    assert_same(train(cfg, val, Worker(), tmp_path / "not", nothing), measured)
