"""Daemon threads that wait for Ray beside the launcher, and stop waiting before it disconnects.

In: a function that calls Ray. Out: a future of its end.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayTaskError

TURN_S = 0.5  # of each wait for Ray in a thread
LEAVING_S = 10.0  # until a thread is out of Ray
_inside: dict[threading.Thread, threading.Event] = {}  # threads that call Ray, and the event that ends their waiting
_ray_get, _ray_wait = ray.get, ray.wait


def in_thread(run: Callable[[], None]) -> "Future[None]":
    """Run a function that calls Ray on a daemon thread: a process that ends does not wait for one that hangs in Ray.

    `have_threads_leave` interrupts its waiting with `Left`.
    """
    future: Future[None] = Future()

    def work() -> None:
        try:
            future.set_result(run())
        except BaseException as error:
            future.set_exception(error)
        finally:
            _inside.pop(threading.current_thread())

    thread = threading.Thread(target=work, daemon=True)
    _inside[thread] = threading.Event()
    thread.start()
    return future


class Left(BaseException):
    """Interrupts a thread that waits for Ray when this process disconnects."""


def get_in_turns(refs: Any, *, timeout: float | None = None, **options: Any) -> Any:
    """Replaces `ray.get`: a thread of `in_thread` waits in short turns, between which it can be interrupted.

    Raises:
        Left: this process disconnects.
    """
    while _may_be_inside() and timeout is None:
        try:
            return _ray_get(refs, timeout=TURN_S, **options)
        except GetTimeoutError as error:
            if isinstance(error, RayTaskError):  # the task's own
                raise
    return _ray_get(refs, timeout=timeout, **options)


def wait_in_turns(*args: Any, **options: Any) -> Any:
    """Replaces `ray.wait`, which Ray Tune itself calls in short turns.

    Raises:
        Left: this process disconnects.
    """
    _may_be_inside()
    return _ray_wait(*args, **options)


def _may_be_inside() -> bool:
    """Whether this is a thread of `in_thread`; raises Left if its waiting is to end."""
    leave = _inside.get(threading.current_thread())
    if leave and leave.is_set():
        raise Left
    return leave is not None


def have_threads_leave() -> None:
    """End the waiting of all threads, before `ray.shutdown` frees what they wait in: a thread that looks there again
    would crash the process."""
    end = time.monotonic() + LEAVING_S
    threads = list(_inside.items())
    for _, leave in threads:
        leave.set()
    for thread, _ in threads:
        if thread.is_alive():  # an interruption may have come before its start
            thread.join(max(0, end - time.monotonic()))
