"""The processes of a session, whoever is their parent by now.

In: the process id of the first, started with `start_new_session`. Out: those that are alive; after `kill`, none.
"""

import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

import psutil


def living(leader: int) -> list[psutil.Process]:
    """The session's processes that are alive, without zombies."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if os.getsid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def kill(leader: int) -> None:
    """Kill the session's processes like a machine that loses power, and wait until they hold no port any more."""
    while processes := living(leader):  # again, for what was being started meanwhile
        for each in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(processes, timeout=1)


def fork_server_killer(pid: int) -> Callable[[], bool]:
    """Make a function that kills the fork server of a process, to be called on the process's machine.

    It returns False where the server was killed before, so that the process has another parent, and raises
    ProcessLookupError where there is no such process.
    """

    def kill_server() -> bool:  # a nested function is pickled whole: the node need not have this module
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
