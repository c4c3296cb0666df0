"""Daemon threads: their death is said, and where they stand can be asked."""

import threading
import time

import pytest

from platform.daemon_thread import DaemonThread


@pytest.mark.parametrize(
    "error", [KeyError("getpwuid(): uid not found: 12345"), SystemExit(3), OSError(30, "Read-only")]
)
def test_what_ends_one_is_said_whatever_it_is(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    def run() -> None:
        raise error

    thread = DaemonThread("tracking", run)
    thread.join(30)
    assert not thread.is_alive()
    assert thread.error.startswith(f"{type(error).__name__}: ")
    assert f"the tracking thread has ended ({thread.error})" in caplog.text
    assert thread.where() == "at its end"


def test_where_it_stands_is_the_innermost_function() -> None:
    go_on = threading.Event()

    def stand_still() -> None:
        while not go_on.is_set():
            time.sleep(0.001)

    thread = DaemonThread("scoring", stand_still)
    try:
        assert thread.where().startswith("in stand_still (test_daemon_thread.py, line ")
    finally:
        go_on.set()
    thread.join(30)
    assert thread.error == ""
