"""Parts run in order while there is time; one that fails stops no other, one that never ends is given up."""

import threading
from collections.abc import Callable

import pytest
import torch

from platform.gpu_check.budget import RESERVE_S, Budget, Part, Runner
from platform.gpu_check.results import NotHere, Results

CPU = torch.device("cpu")


class Clock:
    """Stands still until it is told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def part(name: str, seconds: float, run: Callable[[], object] = lambda: None, on_gpu: float = 0.0) -> Part[None]:
    return Part(name, on_gpu, seconds, lambda subject, results: (run(), results.require(name, "", passed=True))[1])


@pytest.fixture
def clock() -> Clock:
    return Clock()


def run(parts: list[Part[None]], clock: Clock, minutes: float = 1.0) -> tuple[Results, int]:
    results, saved = Results(), []
    runner = Runner(Budget(minutes, clock), results, lambda: saved.append(1), say=lambda line: None)
    runner.run(parts, None, CPU)
    return results, len(saved)


def pass_time(clock: Clock, seconds: float) -> Callable[[], None]:
    def work() -> None:
        clock.now += seconds

    return work


def test_what_does_not_fit_is_left_out_and_said_and_shorter_parts_after_it_still_run(clock: Clock) -> None:
    parts = [part("a", 30, pass_time(clock, 40)), part("b", 16), part("c", 15, pass_time(clock, 15))]
    results, saved = run(parts, clock)
    assert [check.name for check in results.checks] == ["a", "c"]
    (left,) = results.left_out
    assert left.name == "b"
    assert left.reason == "for time: it takes about 16 s, and 15 are left; give more --minutes"
    assert results.seconds == {"a": 40, "c": 15}
    assert saved == 2


def test_time_for_the_table_is_kept(clock: Clock) -> None:
    results, _ = run([part("a", 60 - RESERVE_S + 1), part("b", 60 - RESERVE_S)], clock)
    assert [check.name for check in results.checks] == ["b"]


def test_estimates_are_those_of_the_device() -> None:
    assert part("a", 3, on_gpu=7).seconds(torch.device("cuda", 0)) == 7
    assert part("a", 3, on_gpu=7).seconds(CPU) == 3


def test_a_part_that_fails_stops_no_other(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise RuntimeError("CUDA error: an illegal memory access\nand more")

    results, saved = run([part("a", 1, fail), part("b", 1)], clock)
    first, second = results.checks
    assert (first.name, first.outcome, first.detail) == (
        "a",
        "FAILED",
        "RuntimeError: CUDA error: an illegal memory access",
    )
    assert second.outcome == "passed"
    assert saved == 2
    assert "Traceback" in capsys.readouterr().err


def test_what_a_machine_lacks_is_no_failure(clock: Clock) -> None:
    def lacks() -> None:
        raise NotHere("no compiler is here; install gcc")

    results, _ = run([part("a", 1, lacks)], clock)
    assert results.failed == []
    assert results.left_out[0].reason == "no compiler is here; install gcc"


def test_a_part_that_never_ends_has_failed_when_the_time_is_over(clock: Clock) -> None:
    """The file is written before the process ends."""
    results, ended, order = Results(), threading.Event(), []
    runner = Runner(Budget(1.0, clock), results, lambda: order.append("saved"), say=lambda line: None)

    def end() -> None:
        order.append("ended")
        ended.set()

    def stuck() -> None:
        clock.now += 61
        runner.give_up(end)
        ended.wait(60)

    runner.run([part("stuck", 1.0, stuck)], None, CPU)
    assert (results.checks[0].name, results.checks[0].outcome) == ("stuck", "FAILED")
    assert results.checks[0].detail == "it did not end within --minutes 1"
    assert order[:2] == ["saved", "ended"]
