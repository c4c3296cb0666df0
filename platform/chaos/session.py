"""Processes that were started together: a session's, whoever is their parent by now.

In: the process id of the first, started with `start_new_session`. Out: those that live, or nobody.
"""

import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

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


def fork_server_killer(pid: int) -> Callable[[], bool]:
    """A function that kills the fork server which has made this process, on its machine, and says whether there was
    one: a process whose server was killed before has another parent. It raises ProcessLookupError where there is no
    such process."""

    def kill_server() -> bool:  # a function within one travels whole: the node need not have this module
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
            parent = int(stat.rpartition(")")[2].split()[1])
            is_server = Path(f"/proc/{parent}/cmdline").read_bytes().startswith(b"ray::fork_server")
        except FileNotFoundError:
            raise ProcessLookupError(f"there is no process {pid}") from None
        if is_server:
            os.kill(parent, signal.SIGKILL)
        return is_server

    return kill_server
