"""Helper threads: their death is said, and where they stand can be asked."""

import threading
import time

import pytest

from platform.helper import Helper


@pytest.mark.parametrize(
    "error", [KeyError("getpwuid(): uid not found: 12345"), SystemExit(3), OSError(30, "Read-only")]
)
def test_what_ends_one_is_said_whatever_it_is(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    def run() -> None:
        raise error

    helper = Helper("tracking", run)
    helper.join(30)
    assert not helper.is_alive()
    assert helper.error.startswith(f"{type(error).__name__}: ")
    assert f"the tracking thread has ended ({helper.error})" in caplog.text
    assert helper.where() == "at its end"


def test_where_it_stands_is_the_innermost_function() -> None:
    go_on = threading.Event()

    def stand_still() -> None:
        while not go_on.is_set():
            time.sleep(0.001)

    helper = Helper("scoring", stand_still)
    try:
        assert helper.where().startswith("in stand_still (test_helper.py, line ")
    finally:
        go_on.set()
    helper.join(30)
    assert helper.error == ""
