"""Learning rates against tables of numbers, and against torch's."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts, LRScheduler, OneCycleLR, PolynomialLR

from platform.config.checks import ConfigError
from platform.config.choices import SCHEDULES
from platform.config.optim import ScheduleConfig
from platform.training.schedules import cycle_ends, lr_factor

STEPS_PER_EPOCH = 10


def at_epochs(schedule: ScheduleConfig, total_epochs: int, epochs: list[float]) -> list[float]:
    at = lr_factor(schedule, STEPS_PER_EPOCH, total_epochs * STEPS_PER_EPOCH)
    return [at(round(epoch * STEPS_PER_EPOCH)) for epoch in epochs]


def test_googlenets_rate_falls_by_4_percent_every_8_epochs() -> None:
    found = at_epochs(ScheduleConfig(), 100, [0, 7.9, 8, 15.9, 16, 24, 80])
    assert found == pytest.approx([1, 1, 0.96, 0.96, 0.9216, 0.884736, 0.6648326], rel=1e-6)


def test_inceptions_rate_is_94_percent_every_2_epochs() -> None:
    schedule = ScheduleConfig(factor=0.94, every_epochs=2)
    found = at_epochs(schedule, 100, [0, 1.9, 2, 3.9, 4, 6, 99.9])
    assert found == pytest.approx([1, 1, 0.94, 0.94, 0.8836, 0.830584, 0.94**49], rel=1e-6)


def test_part_epochs_decay_too() -> None:
    at = lr_factor(ScheduleConfig(factor=0.5, every_epochs=0.5), STEPS_PER_EPOCH, 20)
    assert [at(step) for step in (0, 4, 5, 9, 10, 19)] == [1, 1, 0.5, 0.5, 0.25, 0.125]


def test_decays_come_at_the_step_that_was_typed() -> None:
    """0.07 epochs of 100 steps are 7 steps, and 7.000000000000001 in floats, so that each decay came a step late."""
    at = lr_factor(ScheduleConfig(factor=0.5, every_epochs=0.07), 100, 100)
    assert [at(step) for step in (6, 7, 13, 14, 20, 21)] == [1, 0.5, 0.5, 0.25, 0.25, 0.125]


def test_a_warm_up_is_as_long_as_was_typed() -> None:
    """1.09 epochs of 50 steps are 54.5, which rounds to the even number; floats make 54.50000000000001 of it."""
    for epochs, steps in ((1.09, 54), (1.15, 58), (0.06, 3)):
        at = lr_factor(ScheduleConfig(name="constant", warmup_epochs=epochs), 50, 100)
        assert at(steps - 2) == pytest.approx((steps - 1) / steps), epochs
        assert at(steps - 1) == 1


@pytest.mark.parametrize("key", ["every_epochs", "warmup_epochs"])
def test_durations_without_end_are_refused(key: str) -> None:
    with pytest.raises(ConfigError, match=rf"schedule\.{key} is inf; give"):
        ScheduleConfig(**{key: math.inf})  # pyright: ignore[reportArgumentType]


def test_constant_stays() -> None:
    assert at_epochs(ScheduleConfig(name="constant"), 10, [0, 5, 9.9]) == [1, 1, 1]


def test_linear_falls_evenly_to_its_end() -> None:
    assert at_epochs(ScheduleConfig(name="linear"), 10, [0, 1, 5, 9, 10, 12]) == pytest.approx([1, 0.9, 0.5, 0.1, 0, 0])
    found = at_epochs(ScheduleConfig(name="linear", final=0.2), 10, [0, 2.5, 5, 10])
    assert found == pytest.approx([1, 0.8, 0.6, 0.2])


def test_cosine_falls_as_half_a_wave() -> None:
    found = at_epochs(ScheduleConfig(name="cosine"), 12, [0, 2, 3, 4, 6, 8, 9, 12, 13])
    assert found == pytest.approx([1, 0.9330127, 0.8535534, 0.75, 0.5, 0.25, 0.1464466, 0, 0], abs=1e-6)
    found = at_epochs(ScheduleConfig(name="cosine", final=0.1), 12, [0, 4, 6, 12])
    assert found == pytest.approx([1, 0.775, 0.55, 0.1])


def test_polynomial_falls_with_a_power_of_what_is_left() -> None:
    found = at_epochs(ScheduleConfig(name="polynomial"), 10, [0, 1, 5, 9, 10, 12])
    assert found == pytest.approx([1, 0.81, 0.25, 0.01, 0, 0])
    found = at_epochs(ScheduleConfig(name="polynomial", power=0.5, final=0.1), 100, [0, 19, 75, 99, 100])
    assert found == pytest.approx([1, 0.91, 0.55, 0.19, 0.1])


@pytest.mark.parametrize("final", [0.0, 0.2, 1.0])
def test_polynomial_of_power_1_is_linear(final: float) -> None:
    polynomial = lr_factor(ScheduleConfig(name="polynomial", power=1.0, final=final), STEPS_PER_EPOCH, 77)
    linear = lr_factor(ScheduleConfig(name="linear", final=final), STEPS_PER_EPOCH, 77)
    assert [polynomial(step) for step in range(80)] == pytest.approx([linear(step) for step in range(80)])


@pytest.mark.parametrize("power", [0.5, 0.9, 1.0, 2.0, 3.0])
def test_polynomial_is_torchs(power: float) -> None:
    ours = lr_factor(ScheduleConfig(name="polynomial", power=power), STEPS_PER_EPOCH, 50)
    assert [ours(step) for step in range(60)] == pytest.approx(
        of_torch(60, lambda sgd: PolynomialLR(sgd, total_iters=50, power=power)), abs=1e-9
    )


def test_one_cycle_rises_and_falls_as_half_waves() -> None:
    found = at_epochs(ScheduleConfig(name="one_cycle"), 40, [0, 4, 6, 8, 12, 19, 26, 33, 40, 41])
    assert found == pytest.approx([0.04, 0.28, 0.52, 0.76, 1, 0.8535534, 0.5, 0.1464466, 0, 0], abs=1e-6)
    schedule = ScheduleConfig(name="one_cycle", initial=0.5, rise=0.5, final=0.1)
    assert at_epochs(schedule, 10, [0, 2.5, 5, 7.5, 10]) == pytest.approx([0.5, 0.75, 1, 0.55, 0.1])


@pytest.mark.parametrize(
    ("initial", "rise", "final", "steps"), [(0.04, 0.3, 4e-6, 100), (0.04, 0.25, 4e-6, 16), (0.1, 0.5, 0.01, 333)]
)
def test_one_cycle_is_torchs(initial: float, rise: float, final: float, steps: int) -> None:
    ours = lr_factor(ScheduleConfig(name="one_cycle", initial=initial, rise=rise, final=final), STEPS_PER_EPOCH, steps)
    count = steps + 1  # torch's ends with its last step, ours with the one after
    theirs = of_torch(
        count,
        lambda sgd: OneCycleLR(
            sgd,
            max_lr=1.0,
            total_steps=count,
            pct_start=(rise * steps + 1) / count,
            cycle_momentum=False,
            div_factor=1 / initial,
            final_div_factor=initial / final,
        ),
    )
    assert [ours(step) for step in range(count)] == pytest.approx(theirs, abs=1e-9)


def test_the_defaults_of_one_cycle_are_torchs() -> None:
    theirs = of_torch(1, lambda sgd: OneCycleLR(sgd, max_lr=1.0, total_steps=100))
    assert lr_factor(ScheduleConfig(name="one_cycle"), STEPS_PER_EPOCH, 100)(0) == pytest.approx(theirs[0])


def test_one_cycle_is_highest_where_its_rise_ends_and_lowest_at_its_last_step() -> None:
    rates = [lr_factor(ScheduleConfig(name="one_cycle"), STEPS_PER_EPOCH, 100)(step) for step in range(100)]
    assert rates[0] == min(rates[:31]) == pytest.approx(0.04)
    assert rates[30] == 1
    assert rates.index(max(rates)) == 30
    assert 0 < rates[99] == min(rates) < 0.001
    assert rates[:31] == sorted(rates[:31])
    assert rates[30:] == sorted(rates[30:], reverse=True)


def test_restarts_are_as_many_cosines_of_equal_length() -> None:
    schedule = ScheduleConfig(name="cosine_restarts", cycles=3, final=0.1)
    found = at_epochs(schedule, 12, [0, 1, 2, 3, 4, 6, 8, 10, 12])
    assert found == pytest.approx([1, 0.868198, 0.55, 0.231802, 1, 0.55, 1, 0.55, 0.1], abs=1e-6)
    assert cycle_ends(schedule, STEPS_PER_EPOCH, 120) == [40, 80, 120]
    assert cycle_ends(replace(schedule, warmup_epochs=3), STEPS_PER_EPOCH, 120) == [60, 90, 120]
    assert cycle_ends(replace(schedule, cycles=200), STEPS_PER_EPOCH, 4) == [1, 2, 3, 4]


def test_restarts_whose_cycles_grow_are_torchs() -> None:
    ours = lr_factor(ScheduleConfig(name="cosine_restarts", cycles=3, cycle_growth=2.0), STEPS_PER_EPOCH, 70)
    theirs = of_torch(70, lambda sgd: CosineAnnealingWarmRestarts(sgd, T_0=10, T_mult=2))
    assert [ours(step) for step in range(70)] == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize("name", ["linear", "cosine", "polynomial", "one_cycle", "cosine_restarts"])
def test_the_end_is_the_step_after_the_last(name: str) -> None:
    at = lr_factor(ScheduleConfig(name=name, final=0.2, warmup_epochs=0.5), STEPS_PER_EPOCH, 40)
    assert at(39) > at(40) == at(50) == pytest.approx(0.2)


def of_torch(count: int, scheduler: Callable[[torch.optim.Optimizer], LRScheduler]) -> list[float]:
    """The rates of so many steps, of a whole rate of 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = scheduler(optimizer)
    rates = []
    for step in range(count):
        rates.append(optimizer.param_groups[0]["lr"])
        if step < count - 1:
            optimizer.step()
            schedule.step()
    return rates


shares = st.floats(0, 1)
common: dict[str, st.SearchStrategy[float]] = {
    "factor": st.floats(0.01, 1),
    "every_epochs": st.floats(0.01, 100),
    "final": shares,
    "power": st.floats(0.01, 100),
    "initial": shares,
    "rise": st.floats(0.001, 0.999),
    "warmup_epochs": st.one_of(st.just(0.0), st.floats(0, 20)),
}
restarts = st.builds(
    ScheduleConfig,
    name=st.just("cosine_restarts"),
    cycles=st.integers(1, 600),
    cycle_growth=st.floats(0.1, 10),
    **common,
)
others = st.builds(ScheduleConfig, name=st.sampled_from(sorted(SCHEDULES.keys() - {"cosine_restarts"})), **common)
schedules = st.one_of(restarts, others)


@given(schedule=schedules, steps_per_epoch=st.integers(1, 50), total_steps=st.integers(1, 500))
def test_every_rate_is_a_share_of_the_whole_one(
    schedule: ScheduleConfig, steps_per_epoch: int, total_steps: int
) -> None:
    at = lr_factor(schedule, steps_per_epoch, total_steps)
    rates = [at(step) for step in range(total_steps + 2)]
    assert all(math.isfinite(each) and 0 <= each <= 1 for each in rates)


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_warm_up_lies_in_front_and_the_schedule_counts_from_its_end(name: str) -> None:
    plain = lr_factor(ScheduleConfig(name=name, every_epochs=1), STEPS_PER_EPOCH, 40)
    warmed = lr_factor(ScheduleConfig(name=name, every_epochs=1, warmup_epochs=0.5), STEPS_PER_EPOCH, 45)
    up = [plain(0) * share for share in (0.2, 0.4, 0.6, 0.8, 1.0)]
    assert [warmed(step) for step in range(5)] == pytest.approx(up)
    assert [warmed(step) for step in range(5, 45)] == pytest.approx([plain(step) for step in range(40)])


def test_the_warm_up_of_one_cycle_ends_where_the_cycle_starts() -> None:
    at = lr_factor(ScheduleConfig(name="one_cycle", warmup_epochs=1), STEPS_PER_EPOCH, 110)
    assert [at(step) for step in (0, 9, 10, 40)] == pytest.approx([0.004, 0.04, 0.04, 1])


def test_a_run_shorter_than_its_warm_up_only_warms_up() -> None:
    at = lr_factor(ScheduleConfig(name="cosine", warmup_epochs=4), STEPS_PER_EPOCH, 20)
    assert [at(step) for step in (0, 9, 19)] == pytest.approx([1 / 40, 10 / 40, 20 / 40])
