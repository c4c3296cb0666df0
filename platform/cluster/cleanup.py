"""Ends the processes of a local Ray and removes its folder when the launcher has ended, even by SIGKILL.

`python -m platform.cluster.cleanup FOLDER` waits for the end of its standard input, which the launcher holds open.
Ray's own processes end with their parent, but agents and workers live on for a while, and the folder stays.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil

from platform.checkout import ROOT

MARK = "PLATFORM_RAY"  # variable in the environment of every process of that Ray: its folder
GO_BY_THEMSELVES_S = 3.0
KILLING_S = 20.0  # what does not end by then hangs in the kernel, on a dead disk perhaps


def guard(scratch: Path) -> "subprocess.Popen[bytes]":
    """Start the clean-up process of the Ray in `scratch`; closing its standard input makes it end that Ray."""
    return subprocess.Popen(
        [sys.executable, "-m", "platform.cluster.cleanup", str(scratch)], cwd=ROOT, stdin=subprocess.PIPE,
        env={key: value for key, value in os.environ.items() if key != MARK},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip


def main() -> None:
    """Wait for the launcher's end, then end what is left of its Ray."""
    scratch, launcher = sys.argv[1], os.getppid()
    sys.stdin.buffer.read()
    end = time.monotonic() + GO_BY_THEMSELVES_S
    while (left := _marked(scratch, launcher)) and time.monotonic() < end:
        time.sleep(0.1)
    end = time.monotonic() + KILLING_S
    while left and time.monotonic() < end:  # again, for what was being started meanwhile
        for each in left:
            with contextlib.suppress(psutil.Error):
                each.kill()
        psutil.wait_procs(left, timeout=1)
        left = _marked(scratch, launcher)
    shutil.rmtree(scratch, ignore_errors=True)


def _marked(scratch: str, launcher: int) -> list[psutil.Process]:
    """The processes of that Ray, found by their environment, or by their open logs where a process title has
    overwritten that. The launcher may have a log there too, and is left out."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if (
                process.pid != launcher
                and process.status() != psutil.STATUS_ZOMBIE
                and (
                    process.environ().get(MARK) == scratch
                    or any(Path(file.path).is_relative_to(scratch) for file in process.open_files())
                )
            ):
                found.append(process)
    return found


if __name__ == "__main__":
    main()
