"""Ctrl-C and SIGTERM as an exception of somebody's own: what is under way ends cleanly.

In: what to raise. Out: nothing; the handlers of before are back when the block ends.
"""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Sequence

INTERRUPTED = 130  # the status of a job that was, as a shell has it


class Interrupted(BaseException):
    """Ctrl-C or SIGTERM: runs end as KILLED, what is finished stays."""


@contextlib.contextmanager
def signals(
    interruption: Callable[[str], BaseException],
    numbers: Sequence[signal.Signals] = (signal.SIGINT, signal.SIGTERM),
    *,
    once: bool = True,
) -> Iterator[None]:
    """They raise it in the main thread, made of `stopped by SIGINT` or `stopped by SIGTERM`. In another thread nothing
    happens.

    Args:
        once: further ones wait for the end of the block, whoever presses again.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, _frame: object) -> None:
        for each in previous if once else []:
            signal.signal(each, signal.SIG_IGN)
        raise interruption(f"stopped by {signal.Signals(number).name}")

    previous = {number: signal.getsignal(number) for number in numbers}
    for number in previous:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
