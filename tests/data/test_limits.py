"""Calls that never return: given up in time, left behind, and nobody waits for them."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from platform.data.limits import TimeLimit, TimeLimitPassed

pytestmark = pytest.mark.timeout(30)


def raising(error: Exception) -> Callable[[], None]:
    def call() -> None:
        raise error

    return call


def test_calls_run_on_one_thread_until_one_fails() -> None:
    limit, hangs = TimeLimit({}), threading.Event()
    first = limit.run(threading.get_ident, 20)
    assert limit.run(threading.get_ident, 20) == first != threading.get_ident()
    with pytest.raises(FileNotFoundError):  # is an answer: the connection is as good as before
        limit.run(raising(FileNotFoundError("x")), 20)
    assert limit.run(threading.get_ident, 20) == first
    with pytest.raises(TimeLimitPassed, match=r"^no answer within 0\.05 s$"):
        limit.run(lambda: hangs.wait(20), 0.05)
    second = limit.run(threading.get_ident, 20)
    assert second != first
    seen: list[TimeLimit] = []
    with pytest.raises(TimeoutError, match=r"^its own$"):
        limit.run(raising(TimeoutError("its own")), 20)
    limit.run(lambda: seen.append(limit), 20)
    assert seen == [limit]
    hangs.set()


def test_the_thread_ends_with_who_called() -> None:
    limit, beside = TimeLimit({}), list[threading.Thread]()
    caller = threading.Thread(target=lambda: beside.append(limit.run(threading.current_thread, 20)))
    caller.start()
    caller.join()
    beside[0].join(20)
    assert not beside[0].is_alive()


def test_a_process_ends_whatever_hangs() -> None:
    code = """
import time
from platform.data.limits import TimeLimit, TimeLimitPassed
try:
    TimeLimit({}).run(lambda: time.sleep(1000), 0.05)
except TimeLimitPassed as error:
    print(error)
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=25, env=os.environ)
    assert (process.stdout, process.returncode) == ("no answer within 0.05 s\n", 0)
