"""Averages of the weights against direct computations."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from platform.config.training import TrainingConfig
from platform.training.averaging import WeightAverage

STEPS = 12


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))


def run(training: TrainingConfig, steps_per_epoch: int = 4) -> tuple[dict[str, Tensor], list[dict[str, Tensor]]]:
    """Random iterates: the average's state at the end, and the initial weights followed by every iterate."""
    torch.manual_seed(0)
    model = network()
    average = WeightAverage(model, training, steps_per_epoch, STEPS)
    iterates = [{name: value.clone() for name, value in model.state_dict().items()}]
    for step in range(STEPS):
        with torch.no_grad():
            for value in model.state_dict().values():
                value.copy_(torch.randn_like(value) if value.is_floating_point() else value + 1)
        average.update(model, step)
        iterates.append({name: value.clone() for name, value in model.state_dict().items()})
    return average.state, iterates


def floats(state: dict[str, Tensor]) -> Tensor:
    return torch.cat([value.flatten() for value in state.values() if value.is_floating_point()])


@pytest.mark.parametrize(("start", "first"), [(0.0, 0), (0.5, 6), (0.6, 7), (0.99, 11)])
def test_polyak_is_the_plain_mean_of_the_iterates_from_its_start(start: float, first: int) -> None:
    state, iterates = run(TrainingConfig(averaging="polyak", averaging_start=start))
    mean = torch.stack([floats(iterate) for iterate in iterates[1 + first :]]).mean(0)
    torch.testing.assert_close(floats(state), mean)


def test_polyak_starts_at_the_share_that_was_typed() -> None:
    """0.29 of 100 steps are 29, and 28.999999999999996 in floats."""
    model = network()
    average = WeightAverage(model, TrainingConfig(averaging="polyak", averaging_start=0.29), 100, 100)
    for step in range(31):
        before = floats(average.state)
        with torch.no_grad():
            model[0].weight.add_(1.0)  # type: ignore[operator]
        average.update(model, step)
        newest = floats(model.state_dict())
        assert torch.equal(floats(average.state), newest if step < 30 else (before + newest) / 2)


def test_polyak_is_the_newest_before_its_start() -> None:
    model = network()
    average = WeightAverage(model, TrainingConfig(averaging="polyak", averaging_start=0.5), 4, STEPS)
    for step in range(STEPS // 2):
        with torch.no_grad():
            model[0].weight.add_(1.0)  # type: ignore[operator]
        average.update(model, step)
        assert torch.equal(floats(average.state), floats(model.state_dict()))


@pytest.mark.parametrize("horizon_epochs", [0.25, 1.0, 10.0])
def test_the_exponential_average_follows_its_formula(horizon_epochs: float) -> None:
    state, iterates = run(TrainingConfig(averaging="ema", averaging_epochs=horizon_epochs), steps_per_epoch=4)
    expected = floats(iterates[0]).double()
    for step, iterate in enumerate(iterates[1:]):
        decay = min(math.exp(-1 / (4 * horizon_epochs)), (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * floats(iterate).double()
    torch.testing.assert_close(floats(state).double(), expected, rtol=1e-5, atol=1e-6)


def test_a_step_has_faded_to_1_over_e_after_the_horizon() -> None:
    """Long into a run, one changed iterate weighs e times less a horizon (here 2 epochs of 50 steps) later."""
    model = nn.Linear(1, 1, bias=False)
    average = WeightAverage(model, TrainingConfig(averaging="ema", averaging_epochs=2), 50, 10_000)
    nn.init.zeros_(model.weight)
    average.state["weight"].zero_()
    nn.init.ones_(model.weight)
    average.update(model, 5000)
    fresh = average.state["weight"].item()
    nn.init.zeros_(model.weight)
    for step in range(5001, 5101):
        average.update(model, step)
    assert average.state["weight"].item() == pytest.approx(fresh / math.e, rel=1e-3)


def test_none_is_the_newest() -> None:
    state, iterates = run(TrainingConfig(averaging="none"))
    assert torch.equal(floats(state), floats(iterates[-1]))


@pytest.mark.parametrize("kind", ["polyak", "ema", "none"])
def test_batch_norms_counters_are_copied(kind: str) -> None:
    state, _ = run(TrainingConfig(averaging=kind))
    assert state["1.num_batches_tracked"].item() == STEPS


def test_the_average_shares_no_memory_with_the_network() -> None:
    model = network()
    average = WeightAverage(model, TrainingConfig(averaging="none"), 4, STEPS)
    pointers = {value.data_ptr() for value in model.state_dict().values()}
    assert not pointers & {value.data_ptr() for value in average.state.values()}


@pytest.mark.parametrize(("kind", "begins"), [("polyak", STEPS // 2), ("none", STEPS), ("ema", 0)])
def test_while_the_average_is_the_newest_it_is_copied_when_it_is_read(kind: str, begins: int) -> None:
    model = network()
    average = WeightAverage(model, TrainingConfig(averaging=kind, averaging_start=0.5), 4, STEPS)
    tensors = list(average.state.values())
    unread = WeightAverage(model, TrainingConfig(averaging=kind, averaging_start=0.5), 4, STEPS)
    for step in range(STEPS):
        with torch.no_grad():
            for value in model.state_dict().values():
                value.copy_(torch.randn_like(value) if value.is_floating_point() else value + 1)
        with Counting() as operations:
            unread.update(model, step)
        assert (operations.count == 0) == (step < begins)
        average.update(model, step)
        read = average.state
        assert all(value is tensor for value, tensor in zip(read.values(), tensors, strict=True))
    assert torch.equal(floats(unread.state), floats(average.state))


class Counting(TorchDispatchMode):
    """Counts operations on tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))
