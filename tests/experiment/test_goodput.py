"""What became of the wall time: figures that can be added up by hand."""

from pathlib import Path

import pytest

from platform.experiment.goodput import LAUNCHER_LOST, Attempt, Goodput, Times, read_attempts, table, write_attempts


def attempt(began: float, first: float, last: float, ended: float, *, steps: tuple[int, int], reason: str) -> Attempt:
    """Its workers started halfway between the beginning and the first step."""
    return Attempt(
        began, (began + first) / 2, from_step=steps[0], reached=steps[1], first_step_at=first, last_step_at=last,
        ended=ended, reason=reason,
    )  # fmt: skip


def test_one_attempt_loses_nothing() -> None:
    got = Goodput.of([attempt(0, 20, 80, 100, steps=(0, 600), reason="finished")])
    assert got == Goodput(1, 0, 0.0, 100, 60, ("finished",))
    assert got.training_share == pytest.approx(0.6)


def test_steps_made_twice_and_starting_again_are_lost() -> None:
    got = Goodput.of(
        [
            attempt(0, 10, 60, 70, steps=(0, 100), reason="rank 1 died"),
            attempt(70, 85, 125, 125, steps=(60, 140), reason="finished"),  # 80 steps in 40 s, 40 of them again
        ]
    )
    assert got.attempts == 2
    assert got.repeated_steps == 40
    assert got.lost_s == pytest.approx(15 + 20)
    assert got.wall_s == 125
    assert got.training_s == pytest.approx(50 + 20)
    assert got.reasons == ("rank 1 died", "finished")
    assert got.metrics() == {
        "goodput_attempts": 2,
        "goodput_repeated_steps": 40,
        "goodput_lost_s": pytest.approx(35),
        "goodput_training_share": pytest.approx(70 / 125),
    }


def test_an_attempt_that_does_not_come_as_far_as_one_before_only_repeats() -> None:
    got = Goodput.of(
        [
            attempt(0, 10, 60, 60, steps=(0, 100), reason="a"),
            attempt(60, 70, 80, 80, steps=(50, 70), reason="b"),
            attempt(80, 90, 140, 140, steps=(50, 150), reason="finished"),  # 50 of its 100 for the first time
        ]
    )
    assert got.repeated_steps == 20 + 50
    assert got.training_s == pytest.approx(50 + 0 + 25)
    assert got.lost_s == pytest.approx(10 + 10 + 10 + 25)


def test_an_attempt_without_a_step_is_lost_whole_unless_it_was_the_first() -> None:
    stillborn = Attempt(100, 105, from_step=60, reached=60, ended=130, reason="rank 0 died")
    first = attempt(0, 10, 60, 100, steps=(0, 60), reason="rank 1 died")
    assert Goodput.of([first, stillborn]).lost_s == 30
    assert Goodput.of([stillborn]).lost_s == 0
    assert Goodput.of([first, stillborn]).training_s == 50


def test_the_time_between_two_launches_is_nobodys() -> None:
    day = 86400
    got = Goodput.of(
        [
            attempt(0, 10, 60, 60, steps=(0, 100), reason=LAUNCHER_LOST),
            attempt(day, day + 10, day + 60, day + 60, steps=(100, 200), reason="finished"),
        ]
    )
    assert got.wall_s == 120
    assert got.lost_s == 10
    assert got.training_share == pytest.approx(100 / 120)


def test_no_attempts_divide_by_nothing() -> None:
    assert Goodput.of([]).training_share == 0


def test_attempts_are_read_as_written_and_absent_or_broken_ones_as_none(tmp_path: Path) -> None:
    folder = tmp_path / "members" / "model"
    assert read_attempts(folder) == []
    attempts = [attempt(0, 10, 60, 70, steps=(0, 100), reason="rank 1 died"), Attempt(70, 71, nodes=["a", "b"])]
    write_attempts(folder, attempts)
    assert read_attempts(folder) == attempts
    (folder / "attempts.json").write_text('[{"of": "another version"}]')
    assert read_attempts(folder) == []


def test_the_table_has_the_newest_attempts_and_survives_a_bar_in_a_reason():
    attempts = [Attempt(began=float(n), started=float(n), ended=n + 1.0, reason="a | b") for n in range(30)]
    lines = table(attempts).splitlines()
    assert lines[0].startswith("30 attempt(s), 0 steps repeated")
    assert len(lines) == 1 + 1 + 2 + 20
    assert lines[-1].startswith("| 30 |")
    assert lines[-1].endswith("| a / b |")
    assert Goodput.of(attempts).newest_reasons.startswith("11: a | b; 12: ")


def test_times_add_up_from_the_launch_to_the_end() -> None:
    first = attempt(10, 30, 60, 70, steps=(0, 100), reason="rank 1 died")
    first.queued_s = 10  # launched at 0
    second = attempt(100, 120, 160, 175, steps=(50, 150), reason="finished")  # half of its steps again
    second.queued_s, second.evaluating_at = 5, 162  # launched at 95
    found = Times.of([first, second])
    assert found == Times(
        queue_s=15, starting_s=20 + 20, training_s=30 + 20, repeated_s=20, evaluation_s=15, idle_s=10 + (95 - 70)
    )
    assert sum(found.metrics().values()) == 175
    only_evaluated = Attempt(0, 5, evaluating_at=8, ended=20, reason="finished")
    assert Times.of([only_evaluated]) == Times(starting_s=8, evaluation_s=12)
    assert Times.of([]) == Times()
