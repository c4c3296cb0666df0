"""Processes that were started together: a session's, whoever is their parent by now.

In: the process id of the first, started with `start_new_session`. Out: those that live, or nobody.
"""

import contextlib
import os

import psutil


def living(leader: int) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if os.getsid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def kill(leader: int) -> None:
    """All at once, as when a machine loses power; returns when they are gone and hold no port any more."""
    while processes := living(leader):  # again, for what was being started meanwhile
        for each in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(processes, timeout=1)
