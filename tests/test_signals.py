"""Ctrl-C and SIGTERM: once, as the exception asked for; handlers are afterwards what they were."""

import signal
import threading

import pytest

from platform.signals import signals


class Stopped(BaseException):
    """As a job has its own."""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_raises_and_later_ones_wait_for_the_end(number: signal.Signals):
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    ended = []

    @signals(Stopped)
    def work() -> None:
        try:
            signal.raise_signal(number)
        finally:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGTERM)
            ended.append(number)

    with pytest.raises(Stopped, match=f"stopped by {number.name}"):
        work()
    assert ended
    assert {each: signal.getsignal(each) for each in before} == before


def test_another_thread_leaves_the_handlers_alone():
    seen = []

    def work() -> None:
        with signals(Stopped):
            seen.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
