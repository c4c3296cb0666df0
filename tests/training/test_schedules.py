"""Learning rates against tables of numbers."""

import pytest

from platform.config import ScheduleConfig
from platform.training.schedules import SCHEDULES, rate

STEPS_PER_EPOCH = 10


def at_epochs(schedule: ScheduleConfig, total_epochs: int, epochs: list[float]) -> list[float]:
    at = rate(schedule, STEPS_PER_EPOCH, total_epochs * STEPS_PER_EPOCH)
    return [at(round(epoch * STEPS_PER_EPOCH)) for epoch in epochs]


def test_googlenets_rate_falls_by_4_percent_every_8_epochs() -> None:
    found = at_epochs(ScheduleConfig(), 100, [0, 7.9, 8, 15.9, 16, 24, 80])
    assert found == pytest.approx([1, 1, 0.96, 0.96, 0.9216, 0.884736, 0.6648326], rel=1e-6)


def test_inceptions_rate_is_94_percent_every_2_epochs() -> None:
    schedule = ScheduleConfig(factor=0.94, every_epochs=2)
    found = at_epochs(schedule, 100, [0, 1.9, 2, 3.9, 4, 6, 99.9])
    assert found == pytest.approx([1, 1, 0.94, 0.94, 0.8836, 0.830584, 0.94**49], rel=1e-6)


def test_part_epochs_decay_too() -> None:
    at = rate(ScheduleConfig(factor=0.5, every_epochs=0.5), STEPS_PER_EPOCH, 20)
    assert [at(step) for step in (0, 4, 5, 9, 10, 19)] == [1, 1, 0.5, 0.5, 0.25, 0.125]


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


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_warm_up_lies_in_front_and_the_schedule_counts_from_its_end(name: str) -> None:
    plain = rate(ScheduleConfig(name=name, every_epochs=1), STEPS_PER_EPOCH, 40)
    warmed = rate(ScheduleConfig(name=name, every_epochs=1, warmup_epochs=0.5), STEPS_PER_EPOCH, 45)
    assert [warmed(step) for step in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert [warmed(step) for step in range(5, 45)] == pytest.approx([plain(step) for step in range(40)])


def test_a_run_shorter_than_its_warm_up_only_warms_up() -> None:
    at = rate(ScheduleConfig(name="cosine", warmup_epochs=4), STEPS_PER_EPOCH, 20)
    assert [at(step) for step in (0, 9, 19)] == pytest.approx([1 / 40, 10 / 40, 20 / 40])
