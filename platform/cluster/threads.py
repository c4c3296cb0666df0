"""Threads that work with Ray beside the launcher, and leave it when the launcher does."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayTaskError

TURN_S = 0.5  # of waiting for Ray in a thread
LEAVING_S = 10.0  # what a thread may need to come out of Ray
_inside: dict[threading.Thread, threading.Event] = {}  # threads that work with Ray, and what has each of them leave it
_ray_get, _ray_wait = ray.get, ray.wait


def in_thread(run: Callable[[], None]) -> "Future[None]":
    """Run what works with Ray behind the back; where it waits it leaves Ray when this process does, by a Left. In a
    daemon: a process that ends does not wait for what hangs in Ray."""
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
    """In a thread that waits for Ray when this process leaves the cluster."""


def get_in_turns(refs: Any, *, timeout: float | None = None, **options: Any) -> Any:
    """`ray.get`, which a thread of `in_thread` calls in short turns.

    Raises:
        Left: this process leaves the cluster.
    """
    while _may_be_inside() and timeout is None:
        try:
            return _ray_get(refs, timeout=TURN_S, **options)
        except GetTimeoutError as error:
            if isinstance(error, RayTaskError):  # the task's own
                raise
    return _ray_get(refs, timeout=timeout, **options)


def wait_in_turns(*args: Any, **options: Any) -> Any:
    """`ray.wait`, which Ray Tune calls in short turns.

    Raises:
        Left: as above.
    """
    _may_be_inside()
    return _ray_wait(*args, **options)


def _may_be_inside() -> bool:
    """Whether this is a thread of `in_thread`; raises Left if it is to leave."""
    leave = _inside.get(threading.current_thread())
    if leave and leave.is_set():
        raise Left
    return leave is not None


def have_threads_leave() -> None:
    """`ray.shutdown` frees what they wait in: it crashes the process when one of them looks there again."""
    end = time.monotonic() + LEAVING_S
    threads = list(_inside.items())
    for _, leave in threads:
        leave.set()
    for thread, _ in threads:
        if thread.is_alive():  # an interruption may have come before its start
            thread.join(max(0, end - time.monotonic()))
