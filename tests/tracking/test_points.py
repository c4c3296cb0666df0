"""How series are thinned: the same points whatever interrupts, at most a thousand, the last among them."""

from platform.tracking.points import MOST, is_kept, without_zeros


def kept(steps: list[int], total: int | None, key: str = "train/loss", newest: int | None = None) -> list[int]:
    found = []
    for step in steps:
        if is_kept(key, 1.0, step, newest, total):
            found.append(step)
            newest = step
    return found


def test_a_long_run_has_a_thousand_points_evenly_and_its_last():
    steps = [1, *range(10, 100_001, 10)]
    found = kept(steps, 100_000)
    assert len(found) <= MOST + 1
    assert len(found) > 0.99 * MOST
    assert found[-1] == 100_000
    assert max(after - before for before, after in zip(found, found[1:], strict=False)) <= 110


def test_a_run_that_goes_on_elsewhere_has_the_same_points():
    steps = list(range(10, 100_001, 10))
    whole = kept(steps, 100_000)
    first = kept([step for step in steps if step <= 43_210], 100_000)
    again = [step for step in steps if step > 40_000]  # from the checkpoint before
    assert first + kept(again, 100_000, newest=first[-1]) == whole


def test_a_short_run_has_all_and_one_of_unknown_length_too():
    steps = list(range(1, 1000))
    assert kept(steps, 999) == steps
    assert kept(list(range(5000)), None) == list(range(5000))


def test_what_the_machine_does_for_a_week_stays_a_chart():
    seconds = list(range(10, 7 * 86400, 10))
    found = kept(seconds, 100, key="system/cpu")
    assert found[:50] == seconds[:50]
    assert len(found) < MOST
    assert found[-1] > 0.99 * seconds[-1]


def test_counters_begin_with_the_first_that_is_not_zero():
    assert not is_kept("data/corrupt_samples", 0.0, 10, None, 100)
    assert is_kept("data/corrupt_samples", 2.0, 20, None, 100)
    assert is_kept("data/corrupt_samples", 0.0, 30, 20, 100)
    assert is_kept("train/loss", 0.0, 10, None, 100)
    assert without_zeros({"time_idle_s": 0.0, "time_training_s": 0.0}) == {"time_training_s": 0.0}
