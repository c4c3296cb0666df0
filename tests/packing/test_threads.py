"""Threads whose results the main thread takes: each result once, the first error, and Ctrl-C at any point."""

import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from platform.packing.threads import Threads

pytestmark = pytest.mark.timeout(60)


def squares(threads: int) -> Threads[int, int]:
    return Threads(lambda number: number * number, threads, "squares")


@pytest.mark.parametrize(("threads", "ahead", "items"), [(1, 1, 5), (3, 2, 20), (3, 50, 7), (2, 4, 0)])
def test_every_item_has_its_result_once(threads: int, ahead: int, items: int) -> None:
    workers = squares(threads)
    assert sorted(workers.results(range(items), ahead)) == [(number, number**2) for number in range(items)]
    workers.join()


def test_no_more_items_are_taken_than_there_is_room_for() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    with contextlib.closing(squares(2).results(items(), ahead=3)) as results:
        next(results)
        assert len(taken) == 3
        next(results)
        assert len(taken) == 4


def test_the_first_error_ends_it_and_what_is_not_begun_is_dropped() -> None:
    begun: list[int] = []

    def work(number: int) -> None:
        begun.append(number)
        if number == 2:
            raise KeyError(number)
        time.sleep(0.01)

    workers = Threads(work, 1, "failing")
    with pytest.raises(KeyError), contextlib.closing(workers.results(range(100), ahead=100)) as results:
        list(results)
    workers.join()
    assert len(begun) < 100


def test_who_closes_it_waits_for_what_is_begun_only() -> None:
    begun, go_on = list[int](), threading.Event()

    def work(number: int) -> None:
        begun.append(number)
        if number:
            go_on.wait(50)

    workers = Threads(work, 1, "closed")
    with contextlib.closing(workers.results(range(10), ahead=10)) as results:
        next(results)
    go_on.set()
    workers.join()
    assert len(begun) <= 2


INTERRUPTED = """
import contextlib, faulthandler, itertools, random, signal
from platform.packing.threads import Threads
def interrupt(*_):
    raise KeyboardInterrupt
signal.signal(signal.SIGALRM, interrupt)
faulthandler.dump_traceback_later(40, exit=True)
for _ in range(1500):
    workers = Threads(int, 2, "interrupted")
    try:
        # Again later: Python prints and drops an interruption of a finalizer.
        signal.setitimer(signal.ITIMER_REAL, random.uniform(0.0005, 0.003), 1)
        with contextlib.closing(workers.results(itertools.count(), ahead=4)) as results:
            for _ in results:
                pass
    except KeyboardInterrupt:
        signal.setitimer(signal.ITIMER_REAL, 0)
        workers.join()
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers here")
def test_ctrl_c_at_any_point_neither_hangs_nor_becomes_another_error() -> None:
    """A pool of `concurrent.futures` hangs, or raises `release unlocked lock`, within some thousand interruptions."""
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    assert "release unlocked lock" not in done.stderr
