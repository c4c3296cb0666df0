"""Ctrl-C and SIGTERM as an exception of somebody's own, once: what is under way ends cleanly, whoever presses again."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def signals(interruption: Callable[[str], BaseException]) -> Iterator[None]:
    """They raise it in the main thread, with `stopped by SIGINT` or `stopped by SIGTERM`; further ones wait for the end
    of the block. In another thread nothing happens."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, _frame: object) -> None:
        for each in previous:
            signal.signal(each, signal.SIG_IGN)
        raise interruption(f"stopped by {signal.Signals(number).name}")

    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in previous:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
