"""The processes of one container on this machine: started together, found again and ended together, whoever is their
parent by now and whatever session they have made.

In: words, variables, a folder. Out: the exit status; of the container nothing lives on when its first process is gone,
as in a process namespace.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil

KILLED = 137  # the status of a container that was ended with SIGKILL
MARK = "STANDIN_CONTAINER"  # in the environment of every process of a container: its own scratch folder


class Processes:
    """One start of a container."""

    def __init__(self, words: list[str], variables: dict[str, str], folder: Path, log: Path, scratch: Path) -> None:
        """`scratch` is the container's own: its files open in a process tell that the process is of the container."""
        self._scratch, self.log = scratch, log
        self._was_killed = False
        with log.open("ab") as output:
            self._first = subprocess.Popen(
                words, env={**variables, MARK: str(scratch)}, cwd=folder, stdin=subprocess.DEVNULL,
                stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def exit_code(self) -> int | None:
        """None while it runs; when the first process has ended, the others are ended before this returns."""
        code = self._first.poll()
        if code is not None:
            self.kill()
        return KILLED if self._was_killed else code

    def terminate(self) -> None:
        """Ask the first process to end, as the kubelet does; the others are its own concern."""
        if self._first.poll() is None:
            self._first.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """All at once, as when a machine loses power; returns when they are gone and hold no port any more."""
        self._was_killed |= self._first.poll() is None  # whose status psutil takes, so that nobody else learns of it
        while processes := self.living():  # again, for what was being started meanwhile
            end(processes)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._first.wait(timeout=5)

    def living(self) -> list[psutil.Process]:
        return matching(self._is_own)

    def _is_own(self, process: psutil.Process) -> bool:
        """By session, by variable, or by its logs where a title has been written over the variables."""
        return (
            os.getsid(process.pid) == self._first.pid
            or process.environ().get(MARK) == str(self._scratch)
            or any(Path(file.path).is_relative_to(self._scratch) for file in process.open_files())
        )


def matching(is_meant: Callable[[psutil.Process], bool]) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE and is_meant(process):
                found.append(process)
    return found


def end(processes: list[psutil.Process]) -> None:
    for each in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    psutil.wait_procs(processes, timeout=1)
